//! Running a program for the line that it prints.

use kinglet_quant::{Code, Error, Result};
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A sensor that takes longer than this is as good as gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// A user's line for the system's shell.
#[cfg(not(windows))]
pub fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]);
    command
}

/// A user's line for the system's shell, which takes all between the outer quotes as it is.
#[cfg(windows)]
pub fn shell(line: &str) -> Command {
    use std::os::windows::process::CommandExt;
    let mut command = Command::new("cmd");
    command.raw_arg(format!("/S /C \"{line}\""));
    command
}

/// What a program prints, of at most 64 KiB, where it succeeds; else an `Unreadable` that names it
/// as `shown` and says what it wrote to standard error.
pub fn output(command: &mut Command, shown: &str) -> Result<String> {
    let failed = |what: &dyn std::fmt::Display| {
        Error::new(Code::Unreadable, format_args!("the command {shown:?} {what}"))
    };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        command.spawn().map_err(|cause| failed(&format_args!("does not start: {cause}")))?;
    let Some(status) = wait(&mut child) else {
        // It may have ended in this moment; then there is nothing to kill.
        let _ = child.kill();
        let _ = child.wait();
        return Err(failed(&format_args!("gave no answer in {} s", PATIENCE.as_secs())));
    };
    let out = text(child.stdout.take());
    if !status.success() {
        let said = text(child.stderr.take());
        let said = said.lines().chain(out.lines()).next().unwrap_or("nothing").to_owned();
        return Err(failed(&format_args!("failed ({status}) and said: {said}")));
    }
    Ok(out)
}

/// Waits for the end, at first in short steps; `None` when it does not come.
fn wait(child: &mut Child) -> Option<ExitStatus> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if start.elapsed() > PATIENCE {
            return None;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// What a program that has ended left in a pipe.
fn text(pipe: Option<impl Read>) -> String {
    let mut bytes = vec![0; 64 << 10];
    let length = pipe.and_then(|mut pipe| pipe.read(&mut bytes).ok()).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}
