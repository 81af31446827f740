//! What a service manager hears: systemd's protocol of notifications, see `man sd_notify`.

use super::systemd::Channel;
use crate::out;
use std::env;
use std::process;
use std::time::Duration;

/// The way to a service manager. Where there is none, nobody hears anything.
pub struct Manager {
    channel: Option<Channel>,
    patience: Option<Duration>,
}

impl Manager {
    /// The manager that has started this process, if one has.
    pub fn find() -> Self {
        let channel = env::var_os("NOTIFY_SOCKET").and_then(|address| {
            let opened = Channel::open(&address);
            if let Err(cause) = &opened {
                let address = address.display();
                out::note(format_args!("the service manager cannot be told ({address}): {cause}"));
            }
            opened.ok()
        });
        let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let is_meant = number("WATCHDOG_PID").is_none_or(|id| id == u64::from(process::id()));
        let patience = number("WATCHDOG_USEC").filter(|&time| time > 0 && is_meant);
        Self { channel, patience: patience.map(Duration::from_micros) }
    }

    /// Tells lines such as `READY=1`. What cannot be told is lost: a server goes on without its
    /// manager.
    pub fn tell(&self, lines: &str) {
        if let Some(channel) = &self.channel {
            channel.tell(lines);
        }
    }

    /// How often the manager wants to hear `WATCHDOG=1`: twice within the time after which it takes
    /// this process for dead. `None` where it does not watch.
    pub fn watch_step(&self) -> Option<Duration> {
        self.channel.as_ref().and(self.patience).map(|patience| patience / 2)
    }
}

/// Whether the engine gets on.
pub struct Watch {
    turns: Option<u64>,
}

impl Watch {
    /// A watch that has seen nothing.
    pub fn new() -> Self {
        Self { turns: None }
    }

    /// Whether the engine, which has made so many turns, has made one since the last look, or has
    /// nothing to do.
    pub fn is_alive(&mut self, turns: u64, is_idle: bool) -> bool {
        self.turns.replace(turns) != Some(turns) || is_idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_stands_still_with_work_is_dead() {
        let mut watch = Watch::new();
        assert!(watch.is_alive(0, false), "it has only begun");
        assert!(!watch.is_alive(0, false));
        assert!(watch.is_alive(0, true), "it has nothing to do");
        assert!(watch.is_alive(1, false) && watch.is_alive(2, false));
        assert!(!watch.is_alive(2, false));
    }
}
