//! Where nobody says what to run on, a device is tried, and what was taken is said with the reason.
//!
//! The stand-in is slower than any processor, so the device never wins here; how the two are
//! compared is tested where it is done.

use kinglet::{SessionOptions, Tier, Type};
use kinglet_tests::devices::{on_board, on_board_with, shipped_kernels};
use kinglet_tests::models::{SMALL, converted_path, small};
use kinglet_tests::stand_in::StandIn;
use serde_json::Value;
use std::path::PathBuf;

/// The file of a small model.
fn file() -> PathBuf {
    drop(small(SMALL[1], Type::Q8));
    converted_path(SMALL[1], Type::Q8)
}

#[test]
fn commands_say_what_they_run_on_and_why() {
    let (path, best) = (file(), Tier::best().name());
    let path = path.to_str().unwrap();
    let slower = format!("{best} was faster than cuda in a trial: ");
    let run = ["run", path, "-p", "a b c", "-n", "2", "--temp", "0"];
    let said = on_board("orin", &run);
    assert!(said.err.contains(&format!("tier {slower}")), "{said:?}");
    assert!(said.err.contains("for 3 tokens of prompt and 2 new ones"), "{said:?}");
    let said = on_board("orin", &["bench", path, "-p", "4", "-n", "2", "-r", "1", "-o", "json"]);
    let notes: Vec<&str> = said.err.lines().filter(|line| line.contains(&slower)).collect();
    assert!(notes.len() == 2 && notes[0].starts_with("pp4: ") && notes[1].starts_with("tg2: "));
    let bench = ["bench", path, "-p", "0", "-n", "1", "-r", "1", "--tier", "cuda", "-o"];
    let said = on_board("orin", &[&bench[..], &["json"]].concat()).json();
    assert_eq!((&said[0]["backends"], &said[0]["tier"]), (&"CUDA".into(), &"cuda".into()));
    assert!(said[0]["gpu_info"].as_str().unwrap().contains("Orin"), "{said}");
    let said = on_board("orin", &[&bench[..], &["md"]].concat()).ok();
    assert!(said.contains("CUDA") && !said.contains("CPU"), "{said}");
    let said = on_board("none", &run);
    assert!(
        said.err.contains(&format!("tier {best} is used, because there is no CUDA: the NVIDIA"))
    );
    let said = on_board("orin", &[&run[..], &["--tier", "cuda"]].concat());
    assert!(said.err.contains("tier cuda was asked for"), "{said:?}");
    let little = [("KINGLET_STAND_IN_MEMORY", "1000")];
    let said = on_board_with(&little, "orin", &run);
    assert!(said.err.contains(&format!("tier {best} is used, because cuda failed in a trial: ")));
    assert_eq!(said.code, Some(0));
}

/// A device whose memory does for a small session is not chosen for a large one.
#[test]
fn a_device_without_the_memory_for_a_session_is_not_chosen() {
    let path = file();
    let path = path.to_str().unwrap();
    let plan = |context| ["plan", path, "--tier", "cuda", "--ctx", context, "--json"];
    let bytes = |context| {
        let plan: Value = serde_json::from_str(&on_board("orin", &plan(context)).ok()).unwrap();
        plan["device_bytes"].as_u64().unwrap()
    };
    let (small, large) = (bytes("64"), bytes("512"));
    assert!(small + 4096 < large, "{small} and {large} bytes");
    let run = |context| {
        let memory = [("KINGLET_STAND_IN_MEMORY", &*small.to_string())];
        let run = ["run", path, "-p", "a b c", "-n", "2", "--ctx", context];
        let said = on_board_with(&memory, "orin", &run);
        assert_eq!(said.code, Some(0), "{said:?}");
        said.err
    };
    assert!(run("64").contains("was faster than cuda in a trial: "));
    assert!(run("512").contains("because cuda failed in a trial: "));
}

#[test]
fn the_doctor_tells_devices_and_reasons() {
    let (path, best) = (file(), Tier::best().name());
    let path = path.to_str().unwrap();
    for (board, device) in [("orin", "8.7"), ("xavier", "7.2"), ("thor", "11.0")] {
        let said: Value =
            serde_json::from_str(&on_board(board, &["doctor", "--json"]).ok()).unwrap();
        let cuda = said["cuda"].as_str().unwrap();
        assert!(cuda.contains(&format!("compute capability {device}")), "{cuda}");
        assert!(said["cuda_lack"].is_null() && said["model"].is_null());
    }
    let said = on_board("none", &["doctor"]).ok();
    assert!(said.contains("CUDA       none: the NVIDIA driver finds no device"), "{said}");
    let said: Value =
        serde_json::from_str(&on_board("orin", &["doctor", path, "--json"]).ok()).unwrap();
    assert_eq!(said["model"]["tier"], best);
    assert!(said["model"]["reason"].as_str().unwrap().contains("in a trial"), "{said}");
    let said = on_board("orin", &["doctor", path]).ok();
    assert!(said.contains(&format!("runs on    {best} was faster than cuda")), "{said}");
}

/// What `run` says on a device with and without guesses, which change only the steps.
#[test]
fn guesses_are_checked_on_the_device() {
    drop(small(SMALL[1], Type::Q4));
    let path = converted_path(SMALL[1], Type::Q4);
    let prompt = "one two three one two three one two";
    let [guessed, plain] = [None, Some("--no-speculation")].map(|flag| {
        let run = ["run", path.to_str().unwrap(), "--tier", "cuda", "--json", "--temp", "0"];
        let run = [&run[..], &["--ignore-eos", "-n", "16", "-p", prompt]].concat();
        let said = on_board("orin", &run.into_iter().chain(flag).collect::<Vec<_>>());
        serde_json::from_str::<Value>(&said.ok()).unwrap()
    });
    assert_eq!(guessed["tokens"], plain["tokens"]);
    assert_eq!((&plain["drafted_tokens"], &guessed["tier"]), (&0.into(), &"cuda".into()));
    assert!(guessed["drafted_tokens"].as_u64() > Some(0), "{guessed}");
    assert!(guessed["accepted_tokens"].as_u64() > Some(0), "{guessed}");
}

#[test]
fn texts_are_embedded_on_the_device_or_not_as_the_choice_says() {
    let path = file();
    let embed = ["embed", path.to_str().unwrap(), "-p", "one two three", "--json"];
    let said = on_board("orin", &embed);
    assert!(said.err.contains("was faster than cuda in a trial: "), "{said:?}");
    let on_device = on_board("orin", &[&embed[..], &["--tier", "cuda"]].concat());
    assert!(!on_device.err.contains("trial"), "{on_device:?}");
    let [here, there] = [said, on_device].map(|said| said.json()["texts"][0]["embedding"].clone());
    let [here, there] = [here, there].map(|numbers| {
        let numbers = numbers.as_array().unwrap().iter();
        numbers.map(|number| number.as_f64().unwrap()).collect::<Vec<f64>>()
    });
    assert_eq!(here.len(), there.len());
    // The weights are quantized, so norms that add in another order move some codes of inputs.
    let product: f64 = here.iter().zip(&there).map(|(a, b)| a * b).sum();
    assert!(product > 0.999 && here != there, "{product}");
}

/// A device that computes something else loses, however fast it is.
#[test]
fn a_device_that_computes_something_else_is_not_taken() {
    let stand_in = StandIn::take();
    let model = small(SMALL[1], Type::Q8);
    let kernels = shipped_kernels();
    let wrong = kernels.replace("div.rn.f32", "mul.rn.f32");
    assert_ne!(wrong, kernels);
    stand_in.load(&wrong);
    let selection = model.select(&SessionOptions::default());
    assert_eq!(selection.backend().name(), Tier::best().name());
    let why = selection.to_string();
    assert!(why.contains("what CUDA computed in a trial was"), "{why}");
    assert!(selection.is_notable());
    assert_eq!(stand_in.counters()["live_allocations"], 0);
}
