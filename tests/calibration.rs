//! Calibrated conversions of small models: the same bytes whatever the threads and interruptions.

use kinglet::calibrate::{Calibrate, Stage, TextSource, Writing, convert_calibrated, write};
use kinglet::{Code, Result, Type};
use kinglet_quant::Source;
use kinglet_quant::arrange::Preset;
use kinglet_quant::convert::{Options, Report};
use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::models::{SMALL, small, small_source};
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use tempfile::TempDir;

const TYPES: [Preset; 4] = [Preset::Q5, Preset::Q4, Preset::Q3, Preset::Q4s];

/// A folder to convert in.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn convert(
        &self,
        model: &str,
        preset: Preset,
        text: TextSource<'_>,
        threads: usize,
        progress: &mut dyn FnMut(Stage) -> ControlFlow<()>,
    ) -> Result<Report> {
        let source = Source::open(&small_source(model)).unwrap();
        let (work, cache) = (self.path("work"), self.path("texts"));
        let calibrate = Calibrate { text, work: &work, cache: Some(&cache) };
        let options = Options::new(preset, threads);
        convert_calibrated(&source, &self.path("model.kinglet"), &options, &calibrate, progress)
    }

    /// The file's bytes.
    fn bytes(&self) -> Vec<u8> {
        fs::read(self.path("model.kinglet")).unwrap()
    }
}

fn go(_: Stage) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn threads_do_not_change_a_calibrated_file() {
    for preset in TYPES {
        let places = [1, 3].map(|threads| {
            let place = Place::new();
            let text = TextSource::Own { seed: 5 };
            let report = place.convert(SMALL[1], preset, text, threads, &mut go).unwrap();
            assert!(report.rows.iter().any(|row| row.output_error > 0.0));
            assert!(!place.path("work").exists());
            place
        });
        assert!(places[0].bytes() == places[1].bytes(), "{}", preset.name());
    }
}

#[test]
fn an_interrupted_calibration_goes_on_where_it_stopped() {
    let text =
        TextSource::Given(b"The quick brown fox jumps over the lazy dog. 1, 2, 3, 4, 5, 6, 7.");
    let whole = Place::new();
    whole.convert(SMALL[2], Preset::Q4, text, 2, &mut go).unwrap();
    let place = Place::new();
    let mut last = 0.0;
    let mut stop = |stage: Stage| {
        assert!(stage.done >= last && stage.done <= 1.0);
        last = stage.done;
        match stage.name {
            "rounding" => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    };
    let error = place.convert(SMALL[2], Preset::Q4, text, 2, &mut stop).unwrap_err();
    assert_eq!(error.code(), Code::Interrupted);
    assert!(!place.path("model.kinglet").exists());
    let layers = |place: &Place| {
        let folders = fs::read_dir(place.path("work")).unwrap().map(|entry| entry.unwrap().path());
        let mut folders = folders.filter(|path| path.is_dir());
        fs::read_dir(folders.next().unwrap()).unwrap().count()
    };
    assert_eq!(layers(&place), 1);
    place.convert(SMALL[2], Preset::Q4, text, 1, &mut go).unwrap();
    assert!(place.bytes() == whole.bytes());
    assert!(!place.path("work").exists());
}

#[test]
fn an_interruption_while_writing_keeps_nothing_half_written() {
    let place = Place::new();
    let mut stop = |stage: Stage| match stage.name {
        "writing text" if stage.done > 0.1 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let text = TextSource::Own { seed: 1 };
    let error = place.convert(SMALL[0], Preset::Q4, text, 2, &mut stop).unwrap_err();
    assert_eq!(error.code(), Code::Interrupted);
    assert!(!place.path("texts").exists());
    let empty =
        place.convert(SMALL[0], Preset::Q4, TextSource::Given(b""), 2, &mut go).unwrap_err();
    assert_eq!(empty.code(), Code::BadArgument);
}

#[test]
fn seeds_make_texts() {
    let model = small(SMALL[0], Type::Q8);
    let texts = |seed, threads| {
        let writing = Writing { texts: 30, length: 40, seed };
        write(&model, &writing, threads, &mut |_| true).unwrap()
    };
    let first = texts(1, 1);
    assert!(first.iter().all(|text| text.len() == 40));
    assert_eq!(first, texts(1, 4));
    assert_ne!(first, texts(2, 1));
}

/// A text continues as the same tokens in a session would: one token each of several texts in a
/// batch is one step of each.
#[test]
fn texts_side_by_side_are_texts_alone() {
    let model = small(SMALL[1], Type::Q8);
    let texts = |count| {
        let writing = Writing { texts: count, length: 60, seed: 3 };
        write(&model, &writing, 1, &mut |_| true).unwrap()
    };
    assert_eq!(texts(1)[0], texts(13)[0]);
}

/// The command with a cache of its own.
fn convert(place: &Place, args: &[&str]) -> Said {
    let mut command = kinglet(&place.path("home"));
    command.arg("convert").arg(small_source(SMALL[1])).arg("-o").arg(place.path("out.kinglet"));
    Said::by(command.args(args))
}

#[test]
fn the_command_calibrates_mixes_and_says_what_classes_cost() {
    let place = Place::new();
    let shown = convert(&place, &["--type", "q4", "--mix"]).ok();
    assert!(shown.contains("gate") && shown.contains("q4g16"), "{shown}");
    assert!(!place.path("out.kinglet").exists());
    convert(&place, &["--type", "q4", "--mix", "gate=q9"]).fails(2, 404);
    convert(&place, &["--type", "q4", "--mix", "up=q8p"]).fails(2, 404);
    convert(&place, &["--type", "bf16", "--calibrate", "Cargo.toml"]).fails(2, 404);
    convert(&place, &["--type", "q4", "--calibrate", "no/such/file"]).fails(1, 101);

    let errors = |args: &[&str]| -> Vec<f64> {
        let document = convert(&place, &[&["--json"], args].concat()).json();
        let tensors = document["tensors"].as_array().unwrap().clone();
        tensors.iter().map(|row| row["output_error"].as_f64().unwrap()).collect()
    };
    assert!(errors(&["--type", "q4", "--calibrate", "none"]).iter().all(|&error| error == 0.0));
    let own = errors(&["--type", "q4"]);
    let mixed = errors(&["--type", "q4", "--mix", "gate=q8,down=q3g32"]);
    // Embedding and final norm, then nine tensors a layer: gate is the seventh of these.
    let (gate, down) = (2 + 6, 2 + 8);
    assert!(mixed[gate] < 0.2 * own[gate] && mixed[down] > 1.5 * own[down]);
    let text = place.path("text.txt");
    fs::write(&text, "Some words that the model is to stay close on.").unwrap();
    let given = errors(&["--type", "q4", "--calibrate", text.to_str().unwrap()]);
    assert!(given[gate] > 0.0 && given[gate] != own[gate]);
    assert!(convert(&place, &["--type", "q3"]).ok().contains("class"));
}
