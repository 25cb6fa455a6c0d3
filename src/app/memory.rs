//! Looks how much memory the process has, so that the engine grows no more where that is as much as it may have.
//!
//! The kernel is asked, not the tables: what their entries weigh hangs on what happens to each, and the rest of the process
//! needs memory too. What an entry leaves is used again for the next, so that the process stays about where it is.

use tokio::sync::mpsc;

use crate::pipeline::Control;

/// What the engine was told last.
#[derive(Default)]
pub(super) struct Memory {
    is_short: bool,
    told: bool,
}

impl Memory {
    /// Tells the engine where that has changed. `Err` when there is none any more.
    pub(super) async fn look(
        &mut self,
        most: Option<u64>,
        control: &mpsc::Sender<Control>,
    ) -> Result<(), mpsc::error::SendError<Control>> {
        let is_short = most.is_some_and(|most| resident().is_some_and(|now| now > most));
        if is_short == self.is_short {
            return Ok(());
        }
        control.send(Control::MemoryShort(is_short)).await?;
        self.is_short = is_short;
        // Once: near the bound it comes and goes, and the metrics tell what is forgotten.
        if is_short && !std::mem::replace(&mut self.told, true) {
            tracing::warn!(
                "The process has more memory than `state.memory_max`; from now on the oldest is forgotten for what comes"
            );
        }
        Ok(())
    }
}

/// In bytes; unknown where the system does not say.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes = line.trim().strip_suffix("kB")?.trim_end();
    kilobytes.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_engine_is_told_once_that_memory_is_short_and_once_that_it_is_not() {
        let (control, mut told) = mpsc::channel(4);
        let mut memory = Memory::default();
        for most in [None, Some(u64::MAX), Some(1), Some(1), None] {
            memory.look(most, &control).await.unwrap();
        }
        drop(control);
        let mut short = Vec::new();
        while let Some(Control::MemoryShort(is_short)) = told.recv().await {
            short.push(is_short);
        }
        assert_eq!(short, [true, false]);
    }
}
