//! The container: header, section table, and the checked view of a whole file.

use crate::config::{Config, FEATURE_ROTARY_FREQUENCIES};
use crate::frame::Frame;
use crate::matrix::Matrix;
use crate::tensor::{self, NO_LAYER, Record, Role};
use crate::{Code, Result, Signature, Trust, Type, Vocab, ensure, fail};
use bytemuck::{Pod, Zeroable};
use sha2::{Digest, Sha256};

/// The first bytes of every file.
pub const MAGIC: [u8; 8] = *b"KINGLET\n";
/// The version of files that every reader since the first reads.
pub const VERSION: u32 = 2;
/// The version of files of models with features or padded heads, which older readers would compute
/// wrongly.
pub const VERSION_WITH_FEATURES: u32 = 3;
/// Sections start at multiples of this, so that boards with any page size can map them.
pub const SECTION_ALIGN: u64 = 64 * 1024;
/// Sections that a file may have.
pub const MAX_SECTIONS: usize = 16;

/// What a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SectionKind {
    /// One [`Config`].
    Config = 1,
    /// [`Record`]s in the order of [`tensor::order`].
    Tensors = 2,
    /// The tables of [`Vocab`].
    Vocab = 3,
    /// Texts: see [`TextKey`].
    Text = 4,
    /// The tensors' bytes.
    Weights = 5,
}

/// The names of all sections, in file order.
pub const SECTIONS: [(SectionKind, &str); 5] = [
    (SectionKind::Config, "config"),
    (SectionKind::Tensors, "tensors"),
    (SectionKind::Vocab, "vocab"),
    (SectionKind::Text, "text"),
    (SectionKind::Weights, "weights"),
];

/// The first 64 bytes of a file.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`], or [`VERSION_WITH_FEATURES`].
    pub version: u32,
    /// Entries of the section table that follows.
    pub sections: u32,
    /// Bytes of the whole file.
    pub file_bytes: u64,
    /// Zero.
    pub reserved: u64,
    /// SHA-256 of the first 32 bytes followed by the section table.
    pub sha256: [u8; 32],
}

const _: () = assert!(size_of::<Header>() == 64);

/// One entry of the section table: 64 bytes.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Section {
    /// The [`SectionKind`]'s number; readers skip numbers that they do not know.
    pub kind: u32,
    /// Zero.
    pub reserved: u32,
    /// First byte in the file, a multiple of [`SECTION_ALIGN`].
    pub offset: u64,
    /// Bytes without the padding behind.
    pub bytes: u64,
    /// Zero.
    pub reserved2: u64,
    /// SHA-256 of the section's bytes.
    pub sha256: [u8; 32],
}

const _: () = assert!(size_of::<Section>() == 64);

/// Texts of the `TEXT` section, each as key, length in bytes, UTF-8, padded to 4 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum TextKey {
    /// The model's name.
    Name = 1,
    /// Chat template in Jinja.
    ChatTemplate = 2,
    /// The licence of the weights.
    Licence = 3,
    /// Where the weights come from and how the file was made.
    Provenance = 4,
    /// The checkpoint's `generation_config.json`.
    GenerationConfig = 5,
    /// The chat template as a [`Frame`], where it can be reduced to one.
    ChatFrame = 6,
    /// The adapters that were merged, one a line.
    Adapters = 7,
    /// Texts of special tokens for a template that is no frame, as
    /// [`SpecialTexts`](crate::template::SpecialTexts) has them.
    SpecialTexts = 8,
}

/// SHA-256 of the header page: everything in `header` before the hash, then the section table.
pub fn header_hash(header: &Header, sections: &[Section]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(&bytemuck::bytes_of(header)[..32]);
    hash.update(bytemuck::cast_slice::<Section, u8>(sections));
    hash.finalize().into()
}

/// A weight file in memory, validated so that no access through it can fail or leave it.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    config: &'a Config,
    records: &'a [Record],
    vocab: Vocab<'a>,
    text: &'a [u8],
    weights: &'a [u8],
    bytes: &'a [u8],
    sections: &'a [Section],
}

impl<'a> File<'a> {
    /// Checks a whole file: magic, version, the header's checksum, section bounds, the checksums of
    /// configuration and tensor table, every tensor's shape and place, every index of the
    /// tokenizer, the chat frame.
    ///
    /// The work is bounded by the tensor table's and the tokenizer's size; weights are not read.
    /// The memory must start at a multiple of 64 bytes (`Misaligned`).
    pub fn open(bytes: &'a [u8]) -> Result<Self> {
        check_aligned(bytes)?;
        let sections = open_header(bytes)?;
        let section = |kind: SectionKind| find_section(bytes, sections, kind);
        let config_bytes = section(SectionKind::Config)?;
        ensure!(
            config_bytes.len() == size_of::<Config>(),
            Code::Corrupt,
            "the configuration has {} bytes instead of 128",
            config_bytes.len()
        );
        let config: &Config = bytemuck::from_bytes(config_bytes);
        config.check()?;
        let record_bytes = section(SectionKind::Tensors)?;
        ensure!(
            record_bytes.len() == tensor::count(config) * size_of::<Record>(),
            Code::Corrupt,
            "the tensor table has {} bytes, {} tensors need others",
            record_bytes.len(),
            tensor::count(config)
        );
        for kind in [SectionKind::Config, SectionKind::Tensors] {
            verify_section(bytes, sections, kind)?;
        }
        let vocab = Vocab::new(section(SectionKind::Vocab)?, config)?;
        let text = section(SectionKind::Text)?;
        let weights = section(SectionKind::Weights)?;
        let file = Self {
            config,
            records: bytemuck::cast_slice(record_bytes),
            vocab,
            text,
            weights,
            bytes,
            sections,
        };
        file.check_tensors()?;
        file.frame()?;
        Ok(file)
    }

    /// [`File::open`], once the file is known to be what a trusted key has signed: the signature
    /// comes first, then the checksums of all sections, of weights where [`Trust`] says so, and
    /// only then is anything parsed.
    ///
    /// What [`Trust::check`] returns, `NotKinglet`, and what [`File::open`] returns.
    pub fn open_signed(bytes: &'a [u8], trust: &Trust<'_>) -> Result<Self> {
        check_aligned(bytes)?;
        check_magic(bytes)?;
        trust.check(bytes)?;
        let sections = open_header(bytes)?;
        let is_checked = |&kind: &SectionKind| trust.checks_weights || kind != SectionKind::Weights;
        let mut kinds = SECTIONS.iter().map(|(kind, _)| *kind).filter(is_checked);
        kinds.try_for_each(|kind| verify_section(bytes, sections, kind))?;
        Self::open(bytes)
    }

    fn check_tensors(&self) -> Result<()> {
        for (record, (role, layer)) in self.records.iter().zip(tensor::order(self.config)) {
            record.check(self.config, role, layer)?;
            if role.is_vector() {
                self.checked_vector(record)?;
            } else {
                self.checked_matrix(record)?;
            }
        }
        Ok(())
    }

    fn tensor_bytes(&self, record: &Record) -> Result<&'a [u8]> {
        ensure!(
            record.offset.is_multiple_of(64),
            Code::Corrupt,
            "a tensor starts at an odd place, byte {}",
            record.offset
        );
        let start = usize::try_from(record.offset).ok();
        match start.and_then(|start| self.weights.get(start..)) {
            Some(bytes) => Ok(bytes),
            None => fail!(
                Code::Truncated,
                "a tensor lies behind the end of the file: fetch or convert it again"
            ),
        }
    }

    fn checked_matrix(&self, record: &Record) -> Result<Matrix<'a>> {
        let kind = Type::from_file(record.kind)?;
        let Ok(stride) = usize::try_from(record.stride) else {
            fail!(Code::Corrupt, "a tensor's tiles lie {} bytes apart", record.stride);
        };
        let bytes = self.tensor_bytes(record)?;
        Matrix::new(
            kind,
            record.group.into(),
            record.rows as usize,
            record.cols as usize,
            stride,
            record.table,
            bytes,
        )
    }

    fn checked_vector(&self, record: &Record) -> Result<&'a [f32]> {
        ensure!(record.kind == Type::F32 as u8, Code::Corrupt, "vectors must be f32");
        match self.tensor_bytes(record)?.get(..record.cols as usize * size_of::<f32>()) {
            Some(bytes) => Ok(bytemuck::cast_slice(bytes)),
            None => fail!(
                Code::Truncated,
                "a tensor lies behind the end of the file: fetch or convert it again"
            ),
        }
    }

    /// The shape of the model.
    pub fn config(&self) -> &'a Config {
        self.config
    }

    /// The tokenizer.
    pub fn vocab(&self) -> Vocab<'a> {
        self.vocab
    }

    /// All tensor records, in file order.
    pub fn records(&self) -> &'a [Record] {
        self.records
    }

    /// The matrix with this role. Panics for vectors and for layers that the model does not have.
    pub fn matrix(&self, role: Role, layer: u16) -> Matrix<'a> {
        assert!(!role.is_vector());
        let role = if role == Role::Head && self.config.tied == 1 { Role::Embedding } else { role };
        let record = &self.records[tensor::index(self.config, role, layer)];
        self.checked_matrix(record).expect("checked when the file was opened")
    }

    /// The vector with this role. Panics for matrices and for what the model does not have.
    pub fn vector(&self, role: Role, layer: u16) -> &'a [f32] {
        assert!(role.is_vector());
        let record = &self.records[tensor::index(self.config, role, layer)];
        self.checked_vector(record).expect("checked when the file was opened")
    }

    /// What is added to the outputs of a layer's matrix, if anything is.
    pub fn bias(&self, role: Role, layer: u16) -> Option<&'a [f32]> {
        role.bias(self.config).map(|bias| self.vector(bias, layer))
    }

    /// How fast each pair of a head turns, where that does not follow from the model's theta.
    pub fn rotary_frequencies(&self) -> Option<&'a [f32]> {
        let has_own = self.config.has(FEATURE_ROTARY_FREQUENCIES);
        has_own.then(|| self.vector(Role::RotaryFrequencies, NO_LAYER))
    }

    /// The matrix that turns a hidden state into logits: the embedding when tied.
    pub fn head(&self) -> Matrix<'a> {
        self.matrix(Role::Head, NO_LAYER)
    }

    /// Bytes of weights that one generated token reads: every matrix once, of a head in two planes
    /// the high one. One row of the embedding and the few rows of the low plane do not count.
    pub fn read_bytes_per_token(&self) -> usize {
        let layer = |layer: u16| {
            let matrices = tensor::LAYER_ROLES.iter().filter(|role| !role.is_vector());
            matrices.map(move |&role| self.matrix(role, layer).read_bytes()).sum::<usize>()
        };
        self.head().read_bytes() + (0..self.config.layers as u16).map(layer).sum::<usize>()
    }

    /// A text of the `TEXT` section, if the file has it as valid UTF-8.
    pub fn text(&self, key: TextKey) -> Option<&'a str> {
        self.text_bytes(key).and_then(|text| core::str::from_utf8(text).ok())
    }

    /// What stands around the messages of conversations. `None` when the model has no chat
    /// template, when that cannot be reduced to a frame, and in files of before there were frames.
    ///
    /// Cannot fail once the file was opened, unless its bytes change.
    pub fn frame(&self) -> Result<Option<Frame<'a>>> {
        let Some(bytes) = self.text_bytes(TextKey::ChatFrame) else {
            return Ok(None);
        };
        let Ok(text) = core::str::from_utf8(bytes) else {
            fail!(Code::Corrupt, "the chat frame is no text: fetch or convert the file again");
        };
        Frame::new(text).map(Some)
    }

    fn text_bytes(&self, key: TextKey) -> Option<&'a [u8]> {
        let mut rest = self.text;
        while let Some((head, body)) = rest.split_at_checked(8) {
            let [found, length]: [u32; 2] = bytemuck::pod_read_unaligned(head);
            let text = body.get(..length as usize)?;
            if found == key as u32 {
                return Some(text);
            }
            rest = body.get((length as usize).next_multiple_of(4)..)?;
        }
        None
    }

    /// Bytes of the whole file.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// All bytes of the file.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether the file is empty, which no valid one is.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes of the `WEIGHTS` section.
    pub fn weights(&self) -> &'a [u8] {
        self.weights
    }

    /// Compares the checksum of every section, weights included: reads the whole file.
    pub fn verify(&self) -> Result<()> {
        SECTIONS.iter().try_for_each(|&(kind, _)| verify_section(self.bytes, self.sections, kind))
    }

    /// SHA-256 of the header page, which holds the checksums of all sections: files are equal when
    /// their fingerprints are.
    pub fn fingerprint(&self) -> [u8; 32] {
        let header: Header = bytemuck::pod_read_unaligned(&self.bytes[..size_of::<Header>()]);
        header.sha256
    }

    /// The signature of the file, if it has one; it was checked if [`File::open_signed`] opened the
    /// file.
    pub fn signature(&self) -> Option<Signature> {
        Signature::of(self.bytes)
    }

    /// The version of its format.
    pub fn version(&self) -> u32 {
        let header: Header = bytemuck::pod_read_unaligned(&self.bytes[..size_of::<Header>()]);
        header.version
    }

    /// The section table.
    pub fn sections(&self) -> &'a [Section] {
        self.sections
    }
}

fn check_aligned(bytes: &[u8]) -> Result<()> {
    ensure!(
        bytes.as_ptr().addr().is_multiple_of(64),
        Code::Misaligned,
        "a weight file must lie at a multiple of 64 bytes in memory"
    );
    Ok(())
}

fn check_magic(bytes: &[u8]) -> Result<()> {
    ensure!(
        bytes.starts_with(&MAGIC),
        Code::NotKinglet,
        "this is not a Kinglet file: make one with `kinglet convert`"
    );
    Ok(())
}

/// Checks the header page and returns the section table.
fn open_header(bytes: &[u8]) -> Result<&[Section]> {
    check_magic(bytes)?;
    ensure!(
        bytes.len() >= size_of::<Header>(),
        Code::Truncated,
        "the file ends within its header: fetch or convert it again"
    );
    let (head, rest) = bytes.split_at(size_of::<Header>());
    let header: &Header = bytemuck::from_bytes(head);
    ensure!(
        matches!(header.version, VERSION | VERSION_WITH_FEATURES),
        Code::UnknownVersion,
        "the file has version {}: convert the model again, or take a newer Kinglet",
        header.version
    );
    ensure!(
        header.sections as usize <= MAX_SECTIONS,
        Code::Corrupt,
        "the file claims {} sections",
        header.sections
    );
    let Some(table) = rest.get(..header.sections as usize * size_of::<Section>()) else {
        fail!(Code::Truncated, "the file ends within its section table: fetch or convert it again");
    };
    let sections: &[Section] = bytemuck::cast_slice(table);
    ensure!(
        header_hash(header, sections) == header.sha256,
        Code::Corrupt,
        "the header's checksum is wrong: fetch or convert the file again"
    );
    ensure!(
        header.file_bytes == bytes.len() as u64,
        Code::Truncated,
        "the file has {} bytes instead of {}: fetch or convert it again",
        bytes.len(),
        header.file_bytes
    );
    Ok(sections)
}

fn find_entry(sections: &[Section], kind: SectionKind) -> Result<&Section> {
    let Some(section) = sections.iter().find(|s| s.kind == kind as u32) else {
        fail!(Code::Corrupt, "the file has no section {}", kind as u32);
    };
    Ok(section)
}

fn find_section<'a>(bytes: &'a [u8], sections: &[Section], kind: SectionKind) -> Result<&'a [u8]> {
    let section = find_entry(sections, kind)?;
    ensure!(
        section.offset.is_multiple_of(SECTION_ALIGN),
        Code::Corrupt,
        "section {} starts at an odd place",
        section.kind
    );
    let range = usize::try_from(section.offset).ok().zip(usize::try_from(section.bytes).ok());
    let range = range.and_then(|(start, length)| Some(start..start.checked_add(length)?));
    match range.and_then(|range| bytes.get(range)) {
        Some(found) => Ok(found),
        None => fail!(
            Code::Truncated,
            "section {} reaches behind the end of the file: fetch or convert it again",
            section.kind
        ),
    }
}

fn verify_section(bytes: &[u8], sections: &[Section], kind: SectionKind) -> Result<()> {
    let expected = find_entry(sections, kind)?.sha256;
    let found: [u8; 32] = Sha256::digest(find_section(bytes, sections, kind)?).into();
    ensure!(
        found == expected,
        Code::Corrupt,
        "the checksum of section {} is wrong: fetch or convert the file again",
        kind as u32
    );
    Ok(())
}
