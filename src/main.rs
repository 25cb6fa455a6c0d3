//! The binary: hands the arguments and the standard streams to the library.

use std::process::ExitCode;

use tokenwarden::cli::{self, Terminal};

fn main() -> ExitCode {
    // Not locked: the daemon logs from several threads.
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let mut terminal = Terminal {
        out: &mut out,
        err: &mut err,
    };
    cli::main(std::env::args_os(), &mut terminal).into()
}
