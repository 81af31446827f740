//! What this CPU can do: asked at run time where the standard library can, or where there is no
//! operating system that keeps its registers; else known to the compiler.

/// `Ok(())`, or the first of these features that the CPU lacks.
macro_rules! require_features {
    ($($feature:tt),+) => {'found: {
        $(if !$crate::detect::has_feature!($feature) {
            break 'found Err($feature);
        })+
        Ok(())
    }};
}

#[cfg(all(feature = "std", target_arch = "x86_64"))]
macro_rules! has_feature {
    ($feature:tt) => {
        std::is_x86_feature_detected!($feature)
    };
}

#[cfg(all(feature = "std", target_arch = "aarch64"))]
macro_rules! has_feature {
    ($feature:tt) => {
        std::arch::is_aarch64_feature_detected!($feature)
    };
}

// Without an operating system a program has at least the rights of one, EL1, where the registers
// that identify the processor can be read.
#[cfg(all(not(feature = "std"), target_arch = "aarch64", target_os = "none"))]
macro_rules! has_feature {
    ("dotprod") => {
        $crate::detect::identity!("id_aa64isar0_el1", 44)
    };
    ("i8mm") => {
        $crate::detect::identity!("id_aa64isar1_el1", 52)
    };
    ($feature:tt) => {
        cfg!(target_feature = $feature)
    };
}

#[cfg(not(any(feature = "std", all(target_arch = "aarch64", target_os = "none"))))]
macro_rules! has_feature {
    ($feature:tt) => {
        cfg!(target_feature = $feature)
    };
}

/// Whether a field of 4 bits, from `$bit` on, of a register says that there is something.
#[cfg(all(not(feature = "std"), target_arch = "aarch64", target_os = "none"))]
macro_rules! identity {
    ($register:literal, $bit:literal) => {{
        let instructions: u64;
        // SAFETY: EL1 and above may read the register, which changes nothing.
        unsafe {
            core::arch::asm!(
                concat!("mrs {}, ", $register),
                out(reg) instructions,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        instructions >> $bit & 0xf != 0
    }};
}

#[cfg(all(not(feature = "std"), target_arch = "aarch64", target_os = "none"))]
pub(crate) use identity;
pub(crate) use {has_feature, require_features};

/// The kernels that a test is about. Panics when `/proc/cpuinfo` lists all `flags` but `new` gives
/// none; says that the test is skipped where the CPU lacks them.
#[cfg(test)]
pub(crate) fn cpu_promises<K>(
    test: &str,
    flags: &[&str],
    new: impl Fn() -> Option<K>,
) -> Option<K> {
    use std::io::Write;
    let kernels = new();
    if kernels.is_none() {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let lacks = flags.iter().find(|flag| !info.split_whitespace().any(|word| word == **flag));
        let lacks = lacks.unwrap_or_else(|| panic!("{test}: the CPU has {flags:?} but no kernels"));
        // Past the test harness, which shows nothing of tests that pass.
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: this CPU lacks {lacks}");
    }
    kernels
}
