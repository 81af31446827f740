//! Processors on systems where threads are not bound to them, macOS and Windows: the system puts
//! every thread where it likes. Elsewhere this is `affinity.rs`.

use crate::Cpus;
use kinglet_quant::{Code, Result, fail};
use std::thread;

/// Numbers of processors lie below this.
pub(crate) const MAX_CPUS: usize = 1024;

/// The calling thread bound to processors, which none is here.
pub struct Binding(());

impl Binding {
    /// `BadArgument`, since this system binds no threads to processors.
    pub fn check() -> Result<()> {
        fail!(
            Code::BadArgument,
            "on this system no threads are bound to processors: leave --cpus and --pin out, and \
             give the number of threads alone"
        )
    }

    /// Binds nothing.
    pub fn new(_cpus: &Cpus) -> Option<Self> {
        None
    }
}

/// Binds nothing.
pub(crate) fn bind(_cpus: &Cpus) -> bool {
    false
}

/// As many processors as the system says that this process may use, counted from 0; empty where it
/// does not say.
pub(crate) fn allowed() -> Vec<usize> {
    (0..thread::available_parallelism().map_or(0, usize::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Root;

    #[test]
    fn all_processors_are_taken_and_some_are_refused() {
        let count = allowed().len();
        assert!(count > 0);
        let here = Root::here();
        let check = |list: &str| list.parse::<Cpus>().unwrap().check(&here);
        check(&format!("0-{}", count - 1)).unwrap();
        assert!(Binding::new(&Cpus::allowed(&here)).is_none());
        for list in [format!("0-{count}"), count.to_string(), format!("0,{}", MAX_CPUS - 1)] {
            assert_eq!(check(&list).unwrap_err().code(), Code::BadArgument, "{list}");
        }
        if count > 1 {
            let error = check("0").unwrap_err();
            assert!(error.message().contains("leave --cpus and --pin out"), "{error}");
        }
    }
}
