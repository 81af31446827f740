//! A budget for the whole process is kept, and chooses what fits.

use kinglet::{Code, KvType, SessionOptions, Type};
use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::models::{REAL, SMALL, converted_path, real, small};
use std::path::Path;
use std::process::Command;

/// Processes of which one must show that the plan is enough.
const ATTEMPTS: usize = 3;

/// The exit code of `bench/budget.py` for users who may not make control groups.
const NO_RIGHT: i32 = 77;

/// What a process may grow by between two looks at it.
const JITTER_BYTES: usize = 1 << 16;

fn a_budget_chooses_the_context() {
    let model = small(SMALL[0], Type::Q8);
    let options = SessionOptions { texts: 8, kv: Some(KvType::F16), ..SessionOptions::default() };
    let most = model.config().max_context as usize;
    let bytes = |context| {
        let options = SessionOptions { context: Some(context), ..options.clone() };
        model.footprint(&options).unwrap().total_bytes()
    };
    let (all, half) = (bytes(most), bytes(most / 2));
    assert!(all - half > 4 * JITTER_BYTES, "the caches of this model are too small for this test");
    let budget = usize::midpoint(all, half);
    let fitted = model.fit(&options, budget).unwrap();
    let context = fitted.context.unwrap();
    assert!((most / 2..most).contains(&context) && context.is_multiple_of(64), "{context}");
    assert_eq!((fitted.batch, fitted.logit_rows), (options.batch, options.logit_rows));
    let options = SessionOptions { memory_budget_bytes: Some(budget), ..options };
    let batch = model.batch(&options).unwrap();
    assert!(batch.plan().limits().context.abs_diff(context) <= 64);
    drop(batch);
    let ample = SessionOptions { memory_budget_bytes: Some(2 * all), ..options.clone() };
    assert_eq!(model.batch(&ample).unwrap().plan().limits().context, most.min(2048));
    let none = SessionOptions { memory_budget_bytes: Some(model.file_bytes()), ..options };
    let error = model.batch(&none).err().unwrap();
    assert_eq!(error.code(), Code::BudgetTooSmall);
    assert!(error.message().contains("the least is"), "{}", error.message());
}

/// A context that is named stays: passes get smaller instead.
fn a_budget_makes_passes_smaller_where_the_context_is_named() {
    let model = small(SMALL[0], Type::Q8);
    let wanted = SessionOptions { context: Some(64), batch: 2048, ..SessionOptions::default() };
    let total = |options: &SessionOptions| model.footprint(options).unwrap().total_bytes();
    let usual = total(&SessionOptions { batch: 64, ..wanted.clone() });
    assert!(total(&wanted) > usual + 2 * JITTER_BYTES, "passes of this model are too small");
    let fitted = model.fit(&wanted, total(&wanted) + JITTER_BYTES).unwrap();
    assert_eq!(fitted, wanted);
    let fitted = model.fit(&wanted, usual + JITTER_BYTES).unwrap();
    assert_eq!((fitted.context, fitted.batch), (Some(64), 64));
    assert_eq!(model.fit(&wanted, 1).err().unwrap().code(), Code::BudgetTooSmall);
}

/// One test after the other: what the process has taken is part of every sum.
#[test]
fn budgets_choose_what_fits() {
    a_budget_chooses_the_context();
    a_budget_makes_passes_smaller_where_the_context_is_named();
}

/// What the plan says is enough: 1,000 tokens in a control group of that size, no page of a file
/// read twice. Without the right to make such a group, the resident memory is measured instead.
#[test]
fn a_process_keeps_to_its_plan() {
    /// Pages of code beside those in use, which the system maps along with them and can drop.
    const MAPPED_ALONG_BYTES: u64 = 5_000_000;
    let Some(_model) = real("a_process_keeps_to_its_plan", Type::Q4) else { return };
    let path = converted_path(REAL, Type::Q4);
    let home = tempfile::tempdir().unwrap();
    let plan =
        kinglet(home.path()).arg("plan").arg(&path).args(["--ctx", "1024", "--json"]).output();
    let plan = Said::from(plan.unwrap()).json();
    let budget = plan["process_bytes"].as_u64().unwrap();
    let script = || {
        let mut script = Command::new("python3");
        script.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/budget.py"));
        script.arg(kinglet(home.path()).get_program()).arg(&path);
        let said = Said::from(script.args(["--budget", &budget.to_string()]).output().unwrap());
        println!("{}{}", said.out, said.err);
        said
    };
    // The kernel chooses by estimates which pages it drops, and what it reads ahead counts, too.
    let code = std::iter::repeat_with(script)
        .take(ATTEMPTS)
        .map(|said| said.code)
        .find(|code| [Some(0), Some(NO_RIGHT)].contains(code));
    assert!(code.is_some(), "no process of {ATTEMPTS} kept to {budget} bytes");
    if code == Some(Some(0)) {
        return;
    }
    let mut run = kinglet(home.path());
    run.arg("run").arg(&path).args(["--ctx", "1024", "-n", "1000", "--ignore-eos", "--json"]);
    let run = Said::by(run.args(["--memory-budget", &budget.to_string(), "-p", "Once"])).json();
    let resident = run["peak_rss_bytes"].as_u64().unwrap();
    assert!(resident <= budget + MAPPED_ALONG_BYTES, "{resident} of {budget} bytes");
}
