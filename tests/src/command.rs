//! Running the `kinglet` command as a user would.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// What Cargo builds with the command. Alone it would have other features than tests of the whole
/// workspace, and everything below it would be compiled once more.
const BUILT_WITH: [&str; 5] = ["--workspace", "--bin", "kinglet", "--test", "z_skipped"];

/// Builds the command once and returns its path.
fn executable() -> &'static Path {
    static EXECUTABLE: OnceLock<PathBuf> = OnceLock::new();
    EXECUTABLE.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--message-format=json"]).args(BUILT_WITH);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the command does not build:\n{errors}");
        let messages = String::from_utf8(output.stdout).expect("cargo speaks UTF-8");
        let mut paths = messages.lines().filter_map(|line| {
            let message: Value = serde_json::from_str(line).ok()?;
            Some(PathBuf::from(message.get("executable")?.as_str()?))
        });
        paths.find(|path| path.ends_with("kinglet")).expect("cargo names the executable")
    })
}

/// The command with `home` as its cache, and with nothing of the caller's settings.
pub fn kinglet(home: &Path) -> Command {
    let mut command = Command::new(executable());
    for name in ["HF_ENDPOINT", "HF_TOKEN", "NO_COLOR", "CLICOLOR_FORCE", "XDG_CACHE_HOME"] {
        command.env_remove(name);
    }
    for name in ["ROOT", "REQUIRE_KEY", "REQUIRE_MODEL", "REQUIRE_VERSION"] {
        command.env_remove(format!("KINGLET_{name}"));
    }
    for name in ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    #[cfg(unix)]
    heed_interrupts(&mut command);
    command.env("KINGLET_HOME", home).env("HF_HOME", home.join("no-hub-token"));
    command
}

/// Whoever runs the tests in the background may have SIGINT ignored, and the command heeds that.
#[cfg(unix)]
fn heed_interrupts(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    let by_default = || {
        // SAFETY: the default is no handler.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
        Ok(())
    };
    // SAFETY: between fork and exec it calls the system alone.
    unsafe { command.pre_exec(by_default) };
}

/// What a finished command said.
#[derive(Debug)]
pub struct Said {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Said {
    /// Runs a command to its end.
    pub fn by(command: &mut Command) -> Self {
        command.output().expect("the command starts").into()
    }

    /// Asserts success and returns standard output.
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// Asserts success and returns standard output as exactly one JSON document.
    pub fn json(self) -> Value {
        serde_json::from_str(&self.ok()).expect("one JSON document")
    }

    /// Asserts a failure: this exit code, no output, and one line `error: … (error NUMBER)` as the
    /// last line of standard error.
    pub fn fails(&self, code: i32, number: u32) {
        assert_eq!(self.code, Some(code), "{self:?}");
        let last = self.err.lines().last().unwrap_or_default();
        let end = format!("(error {number})");
        assert!(last.starts_with("error: ") && last.ends_with(&end), "{self:?}");
        assert_eq!(self.out, "", "{self:?}");
    }
}
