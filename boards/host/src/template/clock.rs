//! The local time, for templates that put the date into their text.

#[cfg_attr(unix, path = "clock/unix.rs")]
#[cfg_attr(windows, path = "clock/windows.rs")]
mod system;

use std::ffi::CString;

/// Bytes that a date may have at most.
const MAX_BYTES: usize = 256;

/// The current local time in a format of C's `strftime`, which is also Python's; empty where the
/// format gives no text.
pub(super) fn now(format: &str) -> String {
    let (Ok(format), Some(time)) = (CString::new(format), system::local_time()) else {
        return String::new();
    };
    let mut text = [0_u8; MAX_BYTES];
    let length = system::print(&mut text, &format, &time);
    String::from_utf8_lossy(&text[..length]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_follows_the_format() {
        let number = |format: &str| now(format).parse::<u32>().unwrap();
        assert!((2020..2200).contains(&number("%Y")));
        assert!((1..=12).contains(&number("%m")) && (1..=31).contains(&number("%d")));
        // Names are English, whatever the user's language.
        let months = ["January", "February", "March", "April", "May", "June", "July", "August"];
        let later = ["September", "October", "November", "December"];
        assert!(months.iter().chain(&later).any(|month| *month == now("%B")));
        assert_eq!(now("100%%"), "100%");
        assert_eq!((now(""), now("a\0b")), (String::new(), String::new()));
    }
}
