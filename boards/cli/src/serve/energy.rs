//! The energy that the machine has used since the server began, where a sensor tells it.

use crate::system;
use kinglet::Result;
use kinglet_machine::power::{Monotonic, Request, Tally};
use std::fmt::Write;
use std::sync::{Arc, OnceLock};
use std::thread;

/// A count of energy, once there is one.
#[derive(Clone, Default)]
pub struct Energy {
    tally: Arc<OnceLock<Tally>>,
}

impl Energy {
    /// Counts what a sensor shows. The one that is asked for must work; else the first that does,
    /// if any, and the server does not wait for it.
    ///
    /// What [`Request::open`] and [`Tally::start`] return.
    pub fn start(request: Option<&Request>) -> Result<Self> {
        let energy = Self::default();
        if let Some(request) = request {
            energy.count(request)?;
        } else {
            let looking = energy.clone();
            // A machine without a sensor, or without another thread, has no such number.
            let _ = thread::Builder::new()
                .name("power".into())
                .spawn(move || looking.count(&Request::Auto));
        }
        Ok(energy)
    }

    fn count(&self, request: &Request) -> Result<()> {
        let source = request.open(&system::root())?;
        let tally = Tally::start(source, Arc::new(Monotonic::start()))?;
        self.tally.get_or_init(|| tally);
        Ok(())
    }

    /// Writes its lines to a page; none where nothing is known.
    pub fn tell(&self, page: &mut String) {
        let Some(tally) = self.tally.get() else { return };
        let total = tally.total();
        let labels = format!(
            "{{sensor=\"{}\",boundary=\"{}\"}}",
            escaped(tally.name()),
            escaped(tally.boundary())
        );
        let numbers = [
            ("energy_joules_total", "Energy of what the sensor covers", total.joules),
            (
                "energy_unknown_seconds_total",
                "Time without readings, whose energy is not counted",
                total.unknown_seconds,
            ),
        ];
        for (name, help, number) in numbers {
            let _ = write!(
                page,
                "# HELP kinglet_{name} {help}\n# TYPE kinglet_{name} counter\n\
                 kinglet_{name}{labels} {number}\n"
            );
        }
    }
}

/// The value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
