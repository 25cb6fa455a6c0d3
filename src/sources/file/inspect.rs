//! What `check --online` asks of a file: is it there, may we read it.

use std::fs::File;
use std::io::{ErrorKind, Read as _};

use crate::config::FileSource;
use crate::model::Finding;

/// Opens the file and reads a byte. What does not work is a finding.
pub fn inspect(source: &FileSource) -> Finding {
    let path = source.path.display();
    let probe = File::open(&source.path).and_then(|mut file| file.read(&mut [0_u8]));
    match probe {
        Ok(0) => Finding::fine(format!("{path} can be read; it is empty")),
        Ok(_) => Finding::fine(format!("{path} can be read")),
        Err(error) if error.kind() == ErrorKind::NotFound => Finding::fault(
            format!("{path} does not exist"),
            "correct `path`; a file that appears later is read from then on",
        ),
        Err(error) => Finding::fault(
            format!("{path} cannot be read: {error}"),
            "let the daemon's user read it and enter its folder, for example: setfacl -m u:tokenwarden:r FILE",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::model::Gravity;

    fn gravity(path: &Path) -> Gravity {
        let poll_every = Duration::from_secs(1);
        inspect(&FileSource { path: path.into(), poll_every }).gravity
    }

    #[test]
    fn tells_a_file_from_a_folder_and_from_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("events.log");
        assert_eq!(gravity(&file), Gravity::Fault);
        std::fs::write(&file, "x").unwrap();
        assert_eq!(gravity(&file), Gravity::Fine);
        assert_eq!(gravity(folder.path()), Gravity::Fault);
    }
}
