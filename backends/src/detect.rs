//! What this CPU can do: asked at run time where the standard library can, else known to the
//! compiler.

/// `Ok(())`, or the first of these features that the CPU lacks.
macro_rules! require_features {
    ($($feature:tt),+) => {'found: {
        $(if !$crate::detect::has_feature!($feature) {
            break 'found Err($feature);
        })+
        Ok(())
    }};
}

#[cfg(feature = "std")]
macro_rules! has_feature {
    ($feature:tt) => {
        std::is_x86_feature_detected!($feature)
    };
}

#[cfg(not(feature = "std"))]
macro_rules! has_feature {
    ($feature:tt) => {
        cfg!(target_feature = $feature)
    };
}

pub(crate) use {has_feature, require_features};
