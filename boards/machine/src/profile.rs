//! Profiles of boards: what is known about them, figure by figure with its source.
//!
//! Each is a file of TOML under `boards/machine/profiles`, compiled in; a user's own is read by its
//! path. A section names the source of its facts; those that it lists as `unverified`, and all
//! facts of a section without a source, nobody has checked.

use crate::facts::{Fact, Section};
use kinglet_quant::{Code, Error, Result, ensure, fail};
use std::fs;
use std::path::Path;
use toml::{Table, Value};

/// The profiles that come with Kinglet: identifier and text.
const TEXTS: [(&str, &str); 21] = [
    ("pi-zero-2w", include_str!("../profiles/pi-zero-2w.toml")),
    ("pi-3b-plus", include_str!("../profiles/pi-3b-plus.toml")),
    ("pi-4", include_str!("../profiles/pi-4.toml")),
    ("pi-400", include_str!("../profiles/pi-400.toml")),
    ("cm4", include_str!("../profiles/cm4.toml")),
    ("pi-5", include_str!("../profiles/pi-5.toml")),
    ("pi-500", include_str!("../profiles/pi-500.toml")),
    ("cm5", include_str!("../profiles/cm5.toml")),
    ("orange-pi-5", include_str!("../profiles/orange-pi-5.toml")),
    ("jetson-nano", include_str!("../profiles/jetson-nano.toml")),
    ("jetson-tx2", include_str!("../profiles/jetson-tx2.toml")),
    ("xavier-nx", include_str!("../profiles/xavier-nx.toml")),
    ("agx-xavier", include_str!("../profiles/agx-xavier.toml")),
    ("orin-nano", include_str!("../profiles/orin-nano.toml")),
    ("orin-nano-super", include_str!("../profiles/orin-nano-super.toml")),
    ("orin-nx", include_str!("../profiles/orin-nx.toml")),
    ("agx-orin", include_str!("../profiles/agx-orin.toml")),
    ("thor", include_str!("../profiles/thor.toml")),
    ("n100", include_str!("../profiles/n100.toml")),
    ("x86-64", include_str!("../profiles/x86-64.toml")),
    ("aarch64", include_str!("../profiles/aarch64.toml")),
];

/// Sections of a profile beside the facts of the board as a whole.
const SECTIONS: [&str; 6] = ["cores", "detect", "gpu", "memory", "power", "sources"];

/// A board.
#[derive(Clone, Debug)]
pub struct Profile {
    /// What commands call it, such as `pi-5`; the file's name without its ending for a user's own.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Bytes of a page of memory under the system that it usually has.
    pub page_bytes: u64,
    /// The sizes of memory that it is sold with, MiB.
    pub ram_mib: Vec<u64>,
    /// Memory that the operating system needs for itself, MiB.
    pub reserve_mib: u64,
    /// How to recognise it.
    pub detect: Detect,
    /// Clusters of equal cores.
    pub cores: Vec<Cores>,
    /// Bytes that all cores read together, GB/s.
    pub read_gb_per_s: f64,
    /// What the memory's clock and width would allow, GB/s.
    pub theoretical_gb_per_s: f64,
    /// Power and its sensor.
    pub power: Power,
    /// The GPU that Kinglet could use.
    pub gpu: Option<Gpu>,
    /// Everything above and more, as the file has it.
    pub facts: Vec<Fact>,
}

/// How a board is recognised; see [`crate::Board::detect`].
#[derive(Clone, Debug)]
pub struct Detect {
    /// Parts of a name in the device tree's `compatible`.
    pub compatible: Vec<String>,
    /// Words of `/proc/cpuinfo`, for machines without a device tree.
    pub cpu: Vec<String>,
}

/// A cluster of equal cores.
#[derive(Clone, Debug)]
pub struct Cores {
    /// Their design, such as `Cortex-A76`.
    pub kind: String,
    /// How many there are.
    pub count: u64,
    /// Their highest clock.
    pub ghz: f64,
    /// Linux's measure of a core's speed; the fastest has 1024.
    pub capacity: u64,
    /// Instruction sets, as Linux names them.
    pub features: Vec<String>,
}

/// What a board takes, and what measures it.
#[derive(Clone, Debug)]
pub struct Power {
    /// The sensor that `kinglet bench --power` knows, or `none`.
    pub sensor: String,
    /// What the sensor measures, or what the watts below were measured at.
    pub boundary: String,
    /// Watts of a board that does nothing.
    pub idle_watts: Option<f64>,
    /// Watts while all cores are busy.
    pub load_watts: Option<f64>,
    /// Modes that the board can be set to.
    pub modes: Vec<String>,
}

/// A GPU with CUDA.
#[derive(Clone, Debug)]
pub struct Gpu {
    /// Its design.
    pub name: String,
    /// Its compute capability, such as `8.7`.
    pub compute_capability: String,
    /// How many multiprocessors it has.
    pub multiprocessors: u64,
    /// Their highest clock.
    pub ghz: f64,
    /// Watts while it decodes, of the rail that a public run measured.
    pub load_watts: Option<f64>,
    /// Whether Kinglet's kernels run on it.
    pub runs_kinglet: bool,
}

impl Profile {
    /// Every profile that comes with Kinglet.
    pub fn all() -> Vec<Self> {
        let read = |(id, text): &(&str, &str)| Self::parse(id, id, text);
        let all: Result<Vec<Self>> = TEXTS.iter().map(read).collect();
        all.expect("a test reads every profile")
    }

    /// The profile called `name`: an identifier, or the path of a file.
    ///
    /// `BadArgument` for a name that nobody knows and for a file that is no profile, `NotFound` and
    /// `Unreadable` for a path.
    pub fn named(name: &str) -> Result<Self> {
        if let Some((id, text)) = TEXTS.iter().find(|(id, _)| *id == name) {
            return Self::parse(id, id, text);
        }
        if name.contains(['/', '.']) {
            return Self::read(Path::new(name));
        }
        let ids: Vec<&str> = TEXTS.iter().map(|(id, _)| *id).collect();
        fail!(
            Code::BadArgument,
            "there is no board `{name}`: write the path of a profile, or one of {}",
            ids.join(", ")
        )
    }

    fn read(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|cause| match cause.kind() {
            std::io::ErrorKind::NotFound => {
                Error::new(Code::NotFound, format_args!("{shown} does not exist: check the path"))
            }
            _ => Error::new(Code::Unreadable, format_args!("cannot read {shown}: {cause}")),
        })?;
        let id = path.file_stem().map_or("", |stem| stem.to_str().unwrap_or_default());
        Self::parse(id, &shown, &text)
    }

    /// Reads a profile that messages call `shown`.
    fn parse(id: &str, shown: &str, text: &str) -> Result<Self> {
        let document: Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            Error::new(
                Code::BadArgument,
                format_args!("{shown}: line {line} is not TOML: compare it with another profile"),
            )
        })?;
        Reader { shown, document: &document, sources: Table::new(), facts: Vec::new() }.profile(id)
    }

    /// A fact by its section, which is empty for the board as a whole, and its key.
    pub fn fact(&self, section: &str, name: &str) -> Option<&Fact> {
        self.facts.iter().find(|fact| fact.section == section && fact.name == name)
    }
}

/// Reads the sections of one profile.
struct Reader<'a> {
    shown: &'a str,
    document: &'a Table,
    sources: Table,
    facts: Vec<Fact>,
}

impl Reader<'_> {
    fn profile(mut self, id: &str) -> Result<Profile> {
        if let Some(sources) = self.document.get("sources") {
            self.sources = sources.as_table().cloned().unwrap_or_default();
        }
        let whole: Table = self.document.clone();
        let whole =
            whole.into_iter().filter(|(key, _)| !SECTIONS.contains(&key.as_str())).collect();
        let mut section = Section::new(self.shown, "", &whole);
        let name = section.text("name")?;
        section.text("soc")?;
        let page_bytes = section.count("page_bytes")?;
        let (ram_mib, reserve_mib) = (section.counts("ram_mib")?, section.count("reserve_mib")?);
        section.optional_count("l3_kib")?;
        self.facts.extend(section.finish(&self.sources)?);
        let detect = self.section("detect", |section| {
            Ok(Detect { compatible: section.texts("compatible")?, cpu: section.texts("cpu")? })
        })?;
        let cores = self.cores()?;
        let (theoretical_gb_per_s, read_gb_per_s) = self.section("memory", |section| {
            section.text("kind")?;
            Ok((section.number("theoretical_gb_per_s")?, section.number("read_gb_per_s")?))
        })?;
        let power = self.section("power", power)?;
        let gpu = match self.document.contains_key("gpu") {
            true => Some(self.section("gpu", gpu)?),
            false => None,
        };
        let (id, facts) = (id.to_owned(), self.facts);
        Ok(Profile {
            id,
            name,
            page_bytes,
            ram_mib,
            reserve_mib,
            detect,
            cores,
            read_gb_per_s,
            theoretical_gb_per_s,
            power,
            gpu,
            facts,
        })
    }

    fn section<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Section<'_>) -> Result<T>,
    ) -> Result<T> {
        let table = self.document.get(name).and_then(Value::as_table);
        let Some(table) = table else {
            fail!(Code::BadArgument, "{}: the section [{name}] is missing", self.shown)
        };
        let mut section = Section::new(self.shown, name, table);
        let found = read(&mut section)?;
        self.facts.extend(section.finish(&self.sources)?);
        Ok(found)
    }

    fn cores(&mut self) -> Result<Vec<Cores>> {
        let clusters = self.document.get("cores").and_then(Value::as_array);
        let clusters = clusters.map(Vec::as_slice).unwrap_or_default();
        ensure!(
            !clusters.is_empty(),
            Code::BadArgument,
            "{}: there must be a section [[cores]] for each cluster of equal cores",
            self.shown
        );
        let mut found = Vec::new();
        for cluster in clusters {
            let Some(table) = cluster.as_table() else {
                fail!(Code::BadArgument, "{}: `cores` must be sections [[cores]]", self.shown)
            };
            let mut section = Section::new(self.shown, "cores", table);
            found.push(Cores {
                kind: section.text("kind")?,
                count: section.count("count")?,
                ghz: section.number("ghz")?,
                capacity: section.count("capacity")?,
                features: section.texts("features")?,
            });
            section.optional_count("l1d_kib")?;
            section.optional_count("l2_kib")?;
            self.facts.extend(section.finish(&self.sources)?);
        }
        Ok(found)
    }
}

fn power(section: &mut Section<'_>) -> Result<Power> {
    Ok(Power {
        sensor: section.text("sensor")?,
        boundary: section.text("boundary")?,
        idle_watts: section.optional_number("idle_watts")?,
        load_watts: section.optional_number("load_watts")?,
        modes: section.texts("modes")?,
    })
}

fn gpu(section: &mut Section<'_>) -> Result<Gpu> {
    for level in ["jetpack", "cuda", "ptx"] {
        section.text(level)?;
    }
    Ok(Gpu {
        name: section.text("name")?,
        compute_capability: section.text("compute_capability")?,
        multiprocessors: section.count("multiprocessors")?,
        ghz: section.number("ghz")?,
        load_watts: section.optional_number("load_watts")?,
        runs_kinglet: section.flag("runs_kinglet")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A profile that is right, with `from` replaced.
    fn parsed(from: &str, to: &str) -> Result<Profile> {
        let (_, text) = TEXTS.iter().find(|(id, _)| *id == "pi-5").unwrap();
        assert!(text.contains(from), "{from}");
        Profile::parse("mine", "mine.toml", &text.replace(from, to))
    }

    #[test]
    fn every_profile_is_right() {
        let all = Profile::all();
        assert_eq!(all.len(), TEXTS.len());
        for profile in &all {
            assert!(profile.read_gb_per_s <= profile.theoretical_gb_per_s, "{}", profile.id);
            assert!(profile.cores.iter().any(|cores| cores.capacity == 1024), "{}", profile.id);
            let named = !profile.detect.compatible.is_empty() || !profile.detect.cpu.is_empty();
            assert!(named, "{} cannot be recognised", profile.id);
            let sensors = ["none", "rapl", "ina3221", "ina238", "pmic"];
            assert!(sensors.contains(&profile.power.sensor.as_str()), "{}", profile.id);
        }
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles");
        assert_eq!(fs::read_dir(folder).unwrap().count(), TEXTS.len(), "one is not compiled in");
    }

    #[test]
    fn facts_know_their_source() {
        let pi = Profile::named("pi-5").unwrap();
        let read = pi.fact("memory", "read_gb_per_s").unwrap();
        assert!(read.source.as_deref().unwrap().starts_with("https://"));
        assert_eq!(pi.fact("", "reserve_mib").unwrap().source, None, "marked as unverified");
        let nano = Profile::named("jetson-nano").unwrap();
        assert!(nano.facts.iter().filter(|f| f.section == "memory").all(|f| f.source.is_none()));
    }

    #[test]
    fn messages_name_what_is_wrong() {
        for (from, to, message) in [
            ("ghz = 2.4", "", "mine.toml: [cores] `ghz` is missing: write a number above 0"),
            ("ghz = 2.4", "ghz = -2", "[cores] `ghz` is -2: write a number above 0"),
            ("ghz = 2.4", "ghz = nan", "`ghz` is nan: write a number above 0"),
            ("ghz = 2.4", "ghz = \"2\"", "`ghz` is \"2\": write a number above 0"),
            ("count = 4", "count = 4.5", "`count` is 4.5: write a whole number above 0"),
            ("count = 4", "cuont = 4", "`count` is missing"),
            ("idle_watts", "idle", "[power] `idle` is not known here; known are sensor, "),
            ("name =", "name", "line 1 is not TOML"),
            ("[memory]", "[storage]", "`storage` is not known here; known are name, "),
            ("[[cores]]", "[cores]", "there must be a section [[cores]]"),
            ("source = \"pi5-decode\"", "source = \"me\"", "source \"me\" is not under [sources]"),
            ("\"l3_kib\"]", "\"l4_kib\"]", "`unverified` names `l4_kib`, which is not there"),
        ] {
            let error = parsed(from, to).unwrap_err();
            assert_eq!(error.code(), Code::BadArgument);
            assert!(error.message().contains(message), "{}", error.message());
        }
    }

    #[test]
    fn profiles_are_found_by_name_or_path() {
        let message = |name: &str| Profile::named(name).unwrap_err();
        assert!(message("pi-6").message().contains("no board `pi-6`"));
        assert_eq!(message("/nowhere/mine.toml").code(), Code::NotFound);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        fs::write(&path, TEXTS[5].1).unwrap();
        assert_eq!(Profile::named(path.to_str().unwrap()).unwrap().id, "mine");
    }
}
