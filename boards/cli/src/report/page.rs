//! The page: one file that needs nothing else.

use crate::report::document::Documents;
use crate::report::figure::Figure;
use crate::report::ink::Ink;
use crate::report::series::Series;
use crate::report::test::Test;
use crate::report::{depth, energy, memory, roofline, time};
use kinglet_machine::Profile;
use minijinja::value::Serde;
use minijinja::{Environment, context};

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");

/// Its ending makes the engine escape every text; only pictures, which are escaped when they are
/// drawn, are marked as safe.
const NAME: &str = "page.html";

/// The page of some documents. `board` is the one whose limits are shown.
pub fn page(documents: &Documents, board: Option<&Profile>) -> String {
    let Documents { tests, plans } = documents;
    let series = Series::new(tests);
    let figures: Vec<Figure> = vec![
        depth::figure(tests, &series),
        roofline::figure(tests, &series, board),
        time::figure(tests, &series),
        energy::figure(tests, &series),
        memory::figure(plans),
    ];
    let mut environment = Environment::new();
    environment.add_template(NAME, TEMPLATE).expect("a test renders it");
    let values = context! {
        style => STYLE,
        inks => Ink::all(),
        version => env!("CARGO_PKG_VERSION"),
        facts => facts(documents),
        warnings => warnings(tests, &series),
        figures => Serde(figures),
    };
    let template = environment.get_template(NAME).expect("it was added");
    template.render(values).expect("a test renders it")
}

/// What the documents are about: names and values.
fn facts(documents: &Documents) -> Vec<(&'static str, Vec<String>)> {
    let Documents { tests, plans } = documents;
    let count = |n: usize, one: &str| match n {
        1 => format!("1 {one}"),
        n => format!("{n} {one}s"),
    };
    let mut facts: Vec<(&'static str, Vec<String>)> = vec![
        ("holds", vec![count(tests.len(), "test"), count(plans.len(), "plan")]),
        ("measured on", tests.iter().map(|test| test.machine.clone()).collect()),
        ("models", {
            let tested = tests.iter().map(|test| format!("{} ({})", test.model, test.kind));
            tested.collect()
        }),
    ];
    for test in tests {
        let Some(power) = &test.power else { continue };
        for (name, value) in &power.settings {
            match facts.iter_mut().find(|(known, _)| known == name) {
                Some((_, values)) => values.push(value.clone()),
                None => facts.push((name, vec![value.clone()])),
            }
        }
    }
    for (_, values) in &mut facts {
        let mut seen = Vec::new();
        values.retain(|value| {
            !seen.contains(value) && {
                seen.push(value.clone());
                true
            }
        });
    }
    facts.retain(|(_, values)| !values.is_empty());
    facts
}

/// What a reader must know about the figures.
fn warnings(tests: &[Test], series: &Series) -> Vec<String> {
    let mut warnings = Vec::new();
    for (i, test) in tests.iter().enumerate() {
        let name = format!("{} of {}", test.name(), series.name(series.of(i)));
        if test.throttled == Some(true) {
            let flags = test.throttle_flags.as_deref().unwrap_or("the reason is not known");
            warnings.push(format!("{name}: the board slowed itself down: {flags}."));
        }
        let Some(power) = &test.power else { continue };
        for (task, phase) in [("prefill", &power.prefill), ("decode", &power.decode)] {
            let Some(phase) = phase else { continue };
            if let Some(reason) = &phase.unknown {
                warnings.push(format!("{name}: the energy of {task} is not known: {reason}."));
            }
            if phase.unchanging {
                warnings.push(format!(
                    "{name}: the sensor showed the same reading for long in {task}: it may stand \
                     still."
                ));
            }
        }
    }
    warnings
}
