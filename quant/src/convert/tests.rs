use super::*;
use crate::File;
use crate::source::testing::{Checkpoint, every_type};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// A folder with a converted model in it.
struct Output {
    folder: TempDir,
}

impl Output {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("model.kinglet")
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn convert(&self, source: &Source, kind: Type, threads: usize) -> Result<Report> {
        convert(source, &self.path(), &options(kind, threads), &mut |_| ControlFlow::Continue(()))
    }
}

fn options(kind: Type, threads: usize) -> Options {
    Options::new(kind, threads)
}

fn hugging_face() -> Source {
    let mut checkpoint = Checkpoint::new();
    checkpoint.files.insert("LICENSE", "Do as you like.".into());
    // The folder may go: its files stay open.
    Source::open(checkpoint.write().path()).unwrap()
}

/// Runs `check` on the file as it would be mapped.
fn with_file(path: &Path, check: impl FnOnce(File<'_>)) {
    let bytes = fs::read(path).unwrap();
    let mut memory = vec![[0u64; 8]; bytes.len().div_ceil(64) + 1];
    let memory: &mut [u8] = bytemuck::cast_slice_mut(&mut memory);
    let skip = memory.as_ptr().addr().next_multiple_of(64) - memory.as_ptr().addr();
    let memory = &mut memory[skip..][..bytes.len()];
    memory.copy_from_slice(&bytes);
    check(File::open(memory).unwrap());
}

#[test]
fn files_hold_what_the_checkpoint_says() {
    let relative = Source::open(Checkpoint::relative().write().path()).unwrap();
    for source in [hugging_face(), Source::open(&every_type()).unwrap(), relative] {
        for kind in [Type::F32, Type::Bf16, Type::Q8, Type::Q4] {
            let output = Output::new();
            let report = output.convert(&source, kind, 2).unwrap();
            assert_eq!(report.file_bytes, fs::metadata(output.path()).unwrap().len());
            with_file(&output.path(), |file| {
                file.verify().unwrap();
                assert_eq!(file.config(), source.config());
                // Readers of before there were features must not take it for a plain Llama.
                let version = if file.config().features == 0 { 2 } else { 3 };
                assert_eq!(file.version(), version);
                assert_eq!(file.vocab().len(), source.config().vocab_size as usize);
                check_tensors(&source, &file, &report);
            });
        }
    }
}

/// Compares every weight with the checkpoint, and the error found with the one reported.
fn check_tensors(source: &Source, file: &File<'_>, report: &Report) {
    for (row, (role, layer)) in report.rows.iter().zip(tensor::order(file.config())) {
        let weights = source.load(role, layer).unwrap();
        if role.is_vector() {
            assert_eq!(file.vector(role, layer), weights);
            continue;
        }
        let matrix = file.matrix(role, layer);
        let (mut error, mut power) = (0.0, 0.0);
        for (i, &weight) in weights.iter().enumerate() {
            let stored = matrix.weight(i / matrix.cols(), i % matrix.cols());
            error += (f64::from(stored) - f64::from(weight)).powi(2);
            power += f64::from(weight).powi(2);
        }
        let found = (error / power).sqrt();
        let reported = f64::from(row.relative_error);
        assert!((found - reported).abs() <= 1e-5 * found, "{}: {found} {reported}", row.name);
        assert!(found < if matrix.kind() == Type::Q4 { 0.15 } else { 0.02 }, "{}", row.name);
    }
}

#[test]
fn tensors_lie_in_the_order_of_a_forward_pass() {
    let output = Output::new();
    output.convert(&hugging_face(), Type::Q4, 1).unwrap();
    with_file(&output.path(), |file| {
        let record = |role, layer| file.records()[tensor::index(file.config(), role, layer)];
        let tiles = |role, layer| file.matrix(role, layer).tile_count() as u64;
        for layer in 0..2 {
            let [q, k, v, o] = [Role::Q, Role::K, Role::V, Role::O].map(|r| record(r, layer));
            assert_eq!(k.offset, q.offset + tiles(Role::Q, layer) * q.stride);
            assert_eq!(v.offset, k.offset + tiles(Role::K, layer) * k.stride);
            assert_eq!(o.offset, v.offset + tiles(Role::V, layer) * v.stride);
            assert_eq!([q.kind, v.kind], [Type::Q4 as u8, Type::Q8 as u8]);
            let (gate, up) = (record(Role::Gate, layer), record(Role::Up, layer));
            assert_eq!((gate.stride, up.stride), (up.stride, 2 * (up.offset - gate.offset)));
        }
        let (last, embedding) = (record(Role::Down, 1), record(Role::Embedding, tensor::NO_LAYER));
        assert!(record(Role::Down, 0).offset < record(Role::Q, 1).offset);
        assert!(last.offset < embedding.offset);
        assert_eq!(embedding.kind, Type::Q8Planes as u8);
        let low_plane = u64::from(embedding.cols) / 2 * TILE_ROWS as u64;
        let tiles = tiles(Role::Embedding, tensor::NO_LAYER);
        let end = embedding.offset + tiles * (embedding.stride + low_plane);
        assert_eq!(end, file.weights().len() as u64);
    });
}

#[test]
fn texts_are_kept() {
    let output = Output::new();
    let source = hugging_face();
    let options = Options { name: Some("Vögelchen".into()), ..options(Type::Q8, 1) };
    convert(&source, &output.path(), &options, &mut |_| ControlFlow::Continue(())).unwrap();
    with_file(&output.path(), |file| {
        assert_eq!(file.text(TextKey::Name), Some("Vögelchen"));
        assert_eq!(file.text(TextKey::Licence), Some("Do as you like."));
        assert_eq!(file.text(TextKey::ChatTemplate), None);
        let provenance = file.text(TextKey::Provenance).unwrap();
        assert!(provenance.starts_with("Converted from model.safetensors ("), "{provenance}");
    });
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let source = hugging_face();
    for kind in [Type::Q8, Type::Q4] {
        let outputs = [1, 2, 5].map(|threads| {
            let output = Output::new();
            let report = output.convert(&source, kind, threads).unwrap();
            (report, fs::read(output.path()).unwrap())
        });
        assert!(outputs[0] == outputs[1] && outputs[0] == outputs[2]);
    }
}

#[test]
fn progress_rises_to_the_total() {
    let output = Output::new();
    let mut seen = Vec::new();
    let mut progress = |p: Progress<'_>| {
        seen.push((p.done, p.total, p.tensor.to_owned()));
        ControlFlow::Continue(())
    };
    let source = hugging_face();
    convert(&source, &output.path(), &options(Type::Q4, 1), &mut progress).unwrap();
    assert!(seen.is_sorted_by(|a, b| a.0 < b.0));
    assert_eq!(seen.first().unwrap().2, "layers.0.attn_norm");
    let (done, total, tensor) = seen.last().unwrap();
    assert_eq!((done, tensor.as_str()), (total, "embedding"));
    with_file(&output.path(), |file| assert_eq!(file.weights().len() as u64, *total));
}

#[test]
fn interrupted_conversions_leave_nothing() {
    let source = hugging_face();
    for calls in [1, 2, 9, 17] {
        let output = Output::new();
        let mut left = calls;
        let mut progress = |_: Progress<'_>| {
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let mut attempt =
            |path: &Path| convert(&source, path, &options(Type::Q8, 1), &mut progress);
        assert_eq!(attempt(&output.path()).unwrap_err().code(), Code::Interrupted);
        assert_eq!(output.names(), [""; 0]);
    }
}

#[test]
fn failed_conversions_leave_the_old_file() {
    let output = Output::new();
    output.convert(&hugging_face(), Type::Q8, 1).unwrap();
    let before = fs::read(output.path()).unwrap();
    let mut damaged = Checkpoint::new();
    damaged.tensors.get_mut("model.embed_tokens.weight").unwrap().1[5] = f32::INFINITY;
    let folder = damaged.write();
    let damaged = Source::open(folder.path()).unwrap();
    assert_eq!(output.convert(&damaged, Type::Q4, 1).unwrap_err().code(), Code::BadSource);
    assert_eq!(output.names(), ["model.kinglet"]);
    assert_eq!(fs::read(output.path()).unwrap(), before);
    // A successful one replaces it.
    output.convert(&hugging_face(), Type::Q4, 1).unwrap();
    assert_eq!(output.names(), ["model.kinglet"]);
    assert!(fs::metadata(output.path()).unwrap().len() < before.len() as u64);
}

#[cfg(unix)]
#[test]
fn links_keep_pointing_to_the_file() {
    let output = Output::new();
    let behind = output.folder.path().join("behind.kinglet");
    fs::write(&behind, "").unwrap();
    std::os::unix::fs::symlink(&behind, output.path()).unwrap();
    output.convert(&hugging_face(), Type::Q8, 1).unwrap();
    assert!(fs::symlink_metadata(output.path()).unwrap().is_symlink());
    with_file(&behind, |file| file.verify().unwrap());
}

#[test]
fn other_files_are_not_replaced() {
    let source = hugging_face();
    let output = Output::new();
    fs::write(output.path(), "my only copy of something").unwrap();
    assert_eq!(output.convert(&source, Type::Q8, 1).unwrap_err().code(), Code::Unwritable);
    assert_eq!(fs::read(output.path()).unwrap(), b"my only copy of something");
    let attempt = |path: &Path| {
        convert(&source, path, &options(Type::Q8, 1), &mut |_| ControlFlow::Continue(()))
    };
    for path in [output.folder.path(), &output.path().join("below"), Path::new("/dev/null")] {
        assert_eq!(attempt(path).unwrap_err().code(), Code::Unwritable, "{}", path.display());
    }
    let missing = output.folder.path().join("missing/model.kinglet");
    assert_eq!(attempt(&missing).unwrap_err().code(), Code::Unwritable);
    assert_eq!(output.names(), ["model.kinglet"]);
}
