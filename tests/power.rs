//! Energy from sensors: on fake devices whose files change over simulated time by a known law.

use kinglet_machine::Root;
use kinglet_machine::power::{Clock, Interval, Quantity, Request, Sampler, Source};
use kinglet_quant::Result;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// Watts at some second.
type Law = fn(f64) -> f64;

fn constant(_: f64) -> f64 {
    7.25
}

fn ramp(t: f64) -> f64 {
    2.0 + 0.2 * t
}

/// 3 Hz, a third of the time high.
fn square(t: f64) -> f64 {
    if (t * 3.0).fract() < 1.0 / 3.0 { 14.0 } else { 3.0 }
}

/// Bursts of 0.2 s, at times that no rate of sampling is a multiple of.
fn bursts(t: f64) -> f64 {
    if (t / 1.7137 + 0.1 * (t / 11.0).floor()).fract() < 0.2 / 1.7137 { 25.0 } else { 3.0 }
}

const LAWS: [(&str, Law); 4] =
    [("constant", constant), ("ramp", ramp), ("square", square), ("bursts", bursts)];

/// Joules between two seconds.
fn energy(law: Law, start: f64, end: f64) -> f64 {
    const STEPS: u32 = 600_000;
    let dt = (end - start) / f64::from(STEPS);
    (0..STEPS).map(|i| law(start + (f64::from(i) + 0.5) * dt) * dt).sum()
}

/// A file of a device.
struct Register {
    file: File,
    /// The number in it at some second.
    value: Box<dyn Fn(f64) -> f64 + Send + Sync>,
}

impl Register {
    fn new(path: &Path, value: impl Fn(f64) -> f64 + Send + Sync + 'static) -> Self {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).unwrap();
        let register = Self { file, value: Box::new(value) };
        register.write(0.0);
        register
    }

    /// The number of this moment, as wide as any, so that no part of another one is left.
    fn write(&self, now: f64) {
        let text = format!("{:<20.0}\n", (self.value)(now));
        self.file.write_all_at(text.as_bytes(), 0).unwrap();
    }
}

type Event = Box<dyn FnOnce() + Send>;

/// A clock that stands until somebody sleeps, and the devices that it moves.
#[derive(Default)]
struct Simulation {
    now: Mutex<Duration>,
    registers: Mutex<Vec<Register>>,
    fifos: Mutex<Vec<Arc<Fifo>>>,
    /// Where time ends; sleepers then wait in vain.
    end: Mutex<Duration>,
    /// What happens at some moment.
    event: Mutex<Option<(Duration, Event)>>,
    /// Sleep over this moment takes 20 s more.
    leap: Mutex<Option<Duration>>,
    /// What a sleeper has used of a processor before each sleep.
    cost: Duration,
    used: Mutex<Duration>,
}

impl Simulation {
    /// Lets every FIFO be read once more.
    fn serve_fifos(&self) {
        self.fifos.lock().unwrap().iter().for_each(|fifo| fifo.next());
    }
}

impl Clock for Simulation {
    fn now(&self) -> Duration {
        *self.now.lock().unwrap()
    }

    fn sleep_until(&self, time: Duration) {
        *self.used.lock().unwrap() += self.cost;
        if self.now() >= *self.end.lock().unwrap() {
            thread::sleep(Duration::from_millis(1));
            self.serve_fifos();
            return;
        }
        let mut time = time;
        if self.leap.lock().unwrap().take_if(|at| *at <= time).is_some() {
            time += Duration::from_secs(20);
        }
        if let Some((_, event)) = self.event.lock().unwrap().take_if(|(at, _)| *at <= time) {
            event();
        }
        *self.now.lock().unwrap() = time;
        for register in self.registers.lock().unwrap().iter() {
            register.write(time.as_secs_f64());
        }
        self.serve_fifos();
    }

    fn cpu_time(&self) -> Option<Duration> {
        Some(*self.used.lock().unwrap())
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn interval(start: f64, end: f64) -> Interval {
    Interval { start: seconds(start), end: seconds(end) }
}

/// A tree of files, and the time by which they change.
struct Device {
    folder: TempDir,
    simulation: Simulation,
}

impl Device {
    fn new() -> Self {
        let simulation = Simulation { end: Mutex::new(seconds(65.0)), ..Simulation::default() };
        Self { folder: TempDir::new().unwrap(), simulation }
    }

    fn path(&self, path: &str) -> PathBuf {
        Root::at(self.folder.path()).path(path)
    }

    /// A file that stays as it is.
    fn text(&self, path: &str, text: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), format!("{text}\n")).unwrap();
    }

    /// A file that changes.
    fn register(&self, path: &str, value: impl Fn(f64) -> f64 + Send + Sync + 'static) {
        self.simulation.registers.lock().unwrap().push(Register::new(&self.path(path), value));
    }

    /// An INA226 that shows this power.
    fn ina226(law: Law) -> Self {
        let device = Self::new();
        device.text("/sys/class/hwmon/hwmon3/name", "ina226");
        device.register("/sys/class/hwmon/hwmon3/power1_input", move |t| law(t) * 1e6);
        device
    }

    /// A sampler that has seen all of the simulated time, and the simulation.
    fn sampled(self, sensor: &str) -> (Sampler, Arc<Simulation>, TempDir) {
        let root = Root::at(self.folder.path());
        let source = sensor.parse::<Request>().unwrap().open(&root).unwrap();
        let simulation = Arc::new(self.simulation);
        let sampler = Sampler::start(source, simulation.clone()).unwrap();
        while simulation.now() < *simulation.end.lock().unwrap() {
            thread::yield_now();
        }
        sampler.settle();
        (sampler, simulation, self.folder)
    }
}

/// Windows such as phases of a benchmark are: short, long, and not at readings.
const WINDOWS: [(f64, f64); 3] = [(1.0037, 61.42), (2.5, 32.5011), (20.0, 60.0)];

fn assert_energy(sampler: &Sampler, name: &str, law: Law) {
    for (start, end) in WINDOWS {
        let window = sampler.over(&[interval(start, end)]).unwrap();
        let expected = energy(law, start, end);
        let off = window.joules / expected - 1.0;
        assert!(off.abs() < 0.01, "{name}, {start} to {end} s: {} J, {expected} J", window.joules);
        assert!((window.seconds - (end - start)).abs() < 1e-6);
        assert_eq!(window.unchanging, name == "constant", "{name}");
    }
}

#[test]
fn energy_is_right_within_a_hundredth_for_any_load() {
    for (name, law) in LAWS {
        let (sampler, _simulation, _folder) = Device::ina226(law).sampled("hwmon:ina226");
        assert_eq!(sampler.quantity(), Quantity::Power);
        assert_energy(&sampler, name, law);
        let window = sampler.over(&[interval(1.0, 61.0)]).unwrap();
        assert!((5900..=6100).contains(&window.samples), "{} at 100 Hz", window.samples);
    }
}

/// A FIFO in place of a file: who reads it gets the number of that moment. Each time that a clock
/// brings is read once, so nothing of an earlier moment is ever left in it.
#[derive(Default)]
struct Fifo {
    /// Moments that came, and numbers that were fetched.
    moments: Mutex<(u64, u64)>,
    changed: Condvar,
}

impl Fifo {
    fn serve(
        path: PathBuf,
        simulation: Arc<Simulation>,
        value: impl Fn(f64) -> f64 + Send + 'static,
    ) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let name = CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: the name ends in a zero and lives during the call.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        let fifo = Arc::new(Self::default());
        simulation.fifos.lock().unwrap().push(fifo.clone());
        // The last opening waits for a reader for ever: the thread ends with the tests.
        thread::spawn(move || {
            loop {
                let moments = fifo.moments.lock().unwrap();
                let is_idle = |(came, fetched): &mut (u64, u64)| came == fetched;
                drop(fifo.changed.wait_while(moments, is_idle).unwrap());
                let mut file = OpenOptions::new().write(true).open(&path).unwrap();
                let text = format!("{:.0}\n", value(simulation.now().as_secs_f64()));
                file.write_all(text.as_bytes()).unwrap();
                drop(file);
                fifo.moments.lock().unwrap().1 += 1;
                fifo.changed.notify_all();
            }
        });
    }

    /// Another moment comes once the number of the last one has been fetched.
    fn next(&self) {
        let moments = self.moments.lock().unwrap();
        let is_busy = |(came, fetched): &mut (u64, u64)| came != fetched;
        self.changed.wait_while(moments, is_busy).unwrap().0 += 1;
        self.changed.notify_all();
    }
}

#[test]
fn energy_is_as_right_where_files_are_fifos() {
    for (name, law) in LAWS {
        let device = Device::new();
        device.text("/sys/class/hwmon/hwmon0/name", "ina219");
        let root = Root::at(device.folder.path());
        let path = device.path("/sys/class/hwmon/hwmon0");
        let simulation = Arc::new(device.simulation);
        // 5 V and a current: two files for each reading.
        Fifo::serve(path.join("in1_input"), simulation.clone(), |_| 5000.0);
        Fifo::serve(path.join("curr1_input"), simulation.clone(), move |t| law(t) / 5.0 * 1e3);
        simulation.serve_fifos();
        let source = Request::Auto.open(&root).unwrap();
        simulation.serve_fifos();
        let sampler = Sampler::start(source, simulation.clone()).unwrap();
        while simulation.now() < *simulation.end.lock().unwrap() {
            thread::yield_now();
        }
        sampler.settle();
        assert_energy(&sampler, name, law);
    }
}

#[test]
fn counters_are_right_across_their_wraps() {
    for (name, law) in LAWS {
        let device = Device::new();
        for (package, share) in [(0, 0.75), (1, 0.25)] {
            let folder = format!("/sys/class/powercap/intel-rapl:{package}");
            device.text(&format!("{folder}/name"), &format!("package-{package}"));
            // 100 J: it wraps several times in a window, and the packages at different moments.
            device.text(&format!("{folder}/max_energy_range_uj"), "100000000");
            let joules = Mutex::new((0.0, 90.0));
            let counter = move |now: f64| {
                let mut joules = joules.lock().unwrap();
                let (last, sum) = *joules;
                let steps = ((now - last) * 1e4).ceil().max(1.0);
                let dt = (now - last) / steps;
                let more: f64 = (0..steps as u32).map(|i| law(last + f64::from(i) * dt) * dt).sum();
                *joules = (now, sum + more * share);
                (joules.1 * 1e6) % 1e8
            };
            device.register(&format!("{folder}/energy_uj"), counter);
        }
        let (sampler, _simulation, _folder) = device.sampled("rapl");
        assert_eq!(sampler.quantity(), Quantity::Energy);
        for (start, end) in WINDOWS {
            let window = sampler.over(&[interval(start, end)]).unwrap();
            let expected = energy(law, start, end);
            assert!((window.joules / expected - 1.0).abs() < 0.01, "{name}: {}", window.joules);
            assert!(!window.unchanging, "{name}");
        }
    }
}

#[test]
fn rails_that_are_not_connected_or_sums_count_for_nothing() {
    let device = Device::new();
    let driver = "/sys/bus/i2c/drivers/ina3221";
    let rail = |chip: &str, channel: u32, label: &str, share: f64| {
        let folder = format!("{driver}/{chip}/hwmon/hwmon{}", chip.len());
        device.text(&format!("{folder}/in{channel}_label"), label);
        device.text(&format!("{folder}/in{channel}_input"), "20000");
        let amperes = move |t: f64| ramp(t) * share / 20.0 * 1e3;
        device.register(&format!("{folder}/curr{channel}_input"), amperes);
    };
    rail("1-0040", 1, "VDD_GPU_SOC", 0.5);
    rail("1-0040", 2, "VDD_CPU_CV", 0.25);
    rail("1-0040", 7, "sum of shunt voltages", 40.0);
    rail("1-0041", 1, "NC", 30.0);
    rail("1-0041", 2, "VDDQ_VDD2_1V8AO", 0.25);
    let (sampler, _simulation, _folder) = device.sampled("auto");
    assert_energy(&sampler, "ramp", ramp);
    assert_eq!(sampler.name(), "ina3221");
    assert!(sampler.boundary().contains("VDD_GPU_SOC, VDD_CPU_CV, VDDQ_VDD2_1V8AO"));
}

#[test]
fn a_sensor_that_disappears_leaves_no_figure_but_a_reason() {
    let device = Device::ina226(ramp);
    let file = device.path("/sys/class/hwmon/hwmon3/power1_input");
    let unplug = move || fs::remove_file(file).unwrap();
    *device.simulation.event.lock().unwrap() = Some((seconds(30.0), Box::new(unplug)));
    let (sampler, _simulation, _folder) = device.sampled("hwmon:ina226");
    let reason = sampler.over(&[interval(1.0, 61.0)]).unwrap_err();
    assert!(reason.contains("gone") && reason.contains("power1_input"), "{reason}");
    assert!(sampler.over(&[interval(40.0, 50.0)]).is_err());
    let before = sampler.over(&[interval(1.0, 29.0)]).unwrap();
    assert!((before.joules / energy(ramp, 1.0, 29.0) - 1.0).abs() < 0.01);
}

#[test]
fn a_frozen_sensor_is_flagged() {
    fn until_20(t: f64) -> f64 {
        ramp(t.min(20.0))
    }
    let (sampler, _simulation, _folder) = Device::ina226(until_20).sampled("hwmon:ina226");
    let flag = |start, end| sampler.over(&[interval(start, end)]).unwrap().unchanging;
    assert!(!flag(1.0, 20.0) && flag(1.0, 61.0) && flag(30.0, 32.0));
    let window = sampler.over(&[interval(10.0, 30.0)]).unwrap();
    assert!((995..=1005).contains(&window.changes), "{} changes in 10 s", window.changes);
}

/// A machine that is stopped for a while: no reading then, and a counter that went on.
#[test]
fn a_stop_of_the_machine_is_not_taken_for_a_measurement() {
    let device = Device::ina226(ramp);
    *device.simulation.leap.lock().unwrap() = Some(seconds(30.0));
    let (sampler, _simulation, _folder) = device.sampled("hwmon:ina226");
    let reason = sampler.over(&[interval(1.0, 61.0)]).unwrap_err();
    assert!(reason.contains("no readings for a while"), "{reason}");
    assert!(sampler.over(&[interval(1.0, 29.0)]).is_ok());
    assert!(sampler.over(&[interval(51.0, 61.0)]).is_ok());

    let device = Device::new();
    device.text("/sys/class/powercap/intel-rapl:0/name", "package-0");
    device.text("/sys/class/powercap/intel-rapl:0/max_energy_range_uj", "262143328850");
    device.register("/sys/class/powercap/intel-rapl:0/energy_uj", |t| t * 5e6);
    *device.simulation.leap.lock().unwrap() = Some(seconds(30.0));
    let (sampler, _simulation, _folder) = device.sampled("rapl");
    let window = sampler.over(&[interval(1.0, 61.0)]).unwrap();
    assert!((window.joules - 300.0).abs() < 1.0, "{}", window.joules);
}

/// The time of day may be set at any moment, so nothing that measures may ask for it.
#[test]
fn a_step_of_the_time_of_day_changes_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../boards/machine/src");
    let files = ["power", "."].map(|part| fs::read_dir(folder.join(part)).unwrap());
    let mut seen = 0;
    for path in files.into_iter().flatten().map(|entry| entry.unwrap().path()) {
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            assert!(!text.contains("SystemTime"), "{} asks for the time of day", path.display());
            seen += 1;
        }
    }
    assert!(seen > 15);
}

#[test]
fn dear_readings_become_rarer_until_they_cost_less_than_a_hundredth() {
    let mut device = Device::ina226(ramp);
    // At 100 readings a second this would be a tenth of a processor.
    device.simulation.cost = Duration::from_millis(1);
    device.simulation.end = Mutex::new(seconds(10.0));
    let (sampler, simulation, _folder) = device.sampled("hwmon:ina226");
    assert!(sampler.cost().unwrap() > 0.01);
    // The first seconds, in which the idle board is measured, are over.
    sampler.forget();
    *simulation.end.lock().unwrap() = seconds(75.0);
    while simulation.now() < seconds(75.0) {
        thread::yield_now();
    }
    let window = sampler.over(&[interval(12.0, 72.0)]).unwrap();
    assert!((window.joules / energy(ramp, 12.0, 72.0) - 1.0).abs() < 0.01);
    assert!(window.samples as f64 / window.seconds < 10.0, "{}", window.samples);
}

/// A sensor that never answers.
struct Hanging;

impl Source for Hanging {
    fn name(&self) -> &str {
        "hanging"
    }

    fn boundary(&self) -> &str {
        "nothing"
    }

    fn quantity(&self) -> Quantity {
        Quantity::Power
    }

    fn rate_hz(&self) -> f64 {
        100.0
    }

    fn read(&mut self) -> Result<f64> {
        loop {
            thread::park();
        }
    }
}

#[test]
fn a_sensor_that_hangs_holds_nobody_up() {
    let simulation = Arc::new(Simulation { end: Mutex::new(seconds(65.0)), ..Default::default() });
    let sampler = Sampler::start(Box::new(Hanging), simulation).unwrap();
    let reason = sampler.over(&[interval(1.0, 2.0)]).unwrap_err();
    assert!(reason.contains("no reading"), "{reason}");
    drop(sampler);
}
