//! Short flags of several letters, as llama-bench has them: clap supports one letter only.

use std::ffi::OsString;

const LONG: [(&str, &str); 4] =
    [("-pg", "--pg"), ("-ctk", "--kv"), ("-ctv", "--cache-type-v"), ("-oe", "--output-err")];

/// The arguments of the program with such flags of `bench` spelled out.
pub fn spelled_out(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.collect();
    if args.iter().skip(1).find(|arg| !is_flag(arg)).is_some_and(|command| command == "bench") {
        for arg in &mut args {
            if let Some((_, long)) = LONG.iter().find(|(short, _)| arg == short) {
                *arg = long.into();
            }
        }
    }
    args
}

fn is_flag(arg: &OsString) -> bool {
    arg.as_encoded_bytes().starts_with(b"-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(args: &[&str]) -> Vec<OsString> {
        spelled_out(args.iter().map(OsString::from))
    }

    #[test]
    fn only_bench_has_flags_of_several_letters() {
        assert_eq!(
            spelled(&["kinglet", "-q", "bench", "m", "-pg", "8,8", "-oe", "md"]),
            ["kinglet", "-q", "bench", "m", "--pg", "8,8", "--output-err", "md"]
        );
        assert_eq!(spelled(&["kinglet", "run", "m", "-pg"]), ["kinglet", "run", "m", "-pg"]);
    }
}
