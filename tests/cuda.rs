//! The engine for NVIDIA devices, on a stand-in for the driver: its kernels are what the scalar
//! definition says, and its texts are the processor's.

use kinglet::{KvType, Pooling, Sampling, Tier, Type};
use kinglet_backends::{Backend, Checked, Checker, Cuda, CudaEngine, Ptx};
use kinglet_core::Texts;
use kinglet_core::check;
use kinglet_core::engine::Engine;
use kinglet_core::kernels::Alone;
use kinglet_core::plan::{Limits, Plan};
use kinglet_core::sample::Sampler;
use kinglet_quant::Code;
use kinglet_tests::aligned::Aligned;
use kinglet_tests::devices::{kernels, on_board, on_device, texts};
use kinglet_tests::models::{RELATIVES, SMALL, converted_path, real, small};
use kinglet_tests::observe::{embedding, everything, limits};
use kinglet_tests::stand_in::StandIn;
use serde_json::Value;

fn checker(ptx: Ptx) -> Checker {
    Checker::new(Cuda::detect().unwrap(), ptx).unwrap()
}

#[test]
fn kernels_agree_with_scalar() {
    let _stand_in = StandIn::take();
    for ptx in [Ptx::Dot, Ptx::Tensor] {
        check::kernels(Checked(&checker(ptx)));
    }
}

#[test]
fn batches_agree_with_scalar() {
    let stand_in = StandIn::take();
    let launches = kernels::batches(&checker(Ptx::Tensor));
    assert_eq!(stand_in.counters()["kernels"]["product_tensor"]["launches"], launches);
}

#[test]
fn products_of_many_vectors_agree_with_scalar() {
    let _stand_in = StandIn::take();
    kernels::products_of_many_vectors(&checker(Ptx::Tensor));
}

#[test]
fn attention_over_a_long_context_agrees_with_scalar() {
    let _stand_in = StandIn::take();
    kernels::attention_over_a_long_context(&checker(Ptx::Tensor));
}

#[test]
fn keys_are_rotated_and_appended_as_scalar_does() {
    let _stand_in = StandIn::take();
    kernels::rotated_and_appended_keys(&checker(Ptx::Tensor));
}

#[test]
fn texts_of_unquantized_weights_are_those_of_the_processor() {
    let _stand_in = StandIn::take();
    texts::unquantized(Ptx::Tensor, &SMALL);
}

/// What a relative of SmolLM has, the device computes or refuses.
#[test]
fn relatives_are_computed_or_refused_by_name() {
    let _stand_in = StandIn::take();
    texts::unquantized(Ptx::Tensor, &RELATIVES[1..]);
    let (model, limits) = (small(RELATIVES[0], Type::Q8), limits(KvType::Int8));
    let plan = Plan::new(&model.file(), &limits).unwrap().without_engine();
    let error = CudaEngine::new(Cuda::detect().unwrap(), model.file(), plan).unwrap_err();
    assert_eq!(error.code(), Code::TierUnavailable);
    assert!(error.message().contains("the model has biases"), "{error}");
}

#[test]
fn logits_of_quantized_weights_are_near() {
    let _stand_in = StandIn::take();
    println!("{:.1e} off", texts::quantized(Ptx::Tensor));
}

#[test]
fn long_texts_are_those_of_the_processor() {
    let _stand_in = StandIn::take();
    println!("{:.1e} off", texts::long(Ptx::Tensor));
}

#[test]
fn searches_keep_what_the_processor_keeps() {
    let _stand_in = StandIn::take();
    texts::searched(Ptx::Tensor);
}

/// The order in which a device runs warps and blocks is its own: no result may depend on it.
#[test]
fn no_order_of_warps_and_blocks_changes_a_bit() {
    let stand_in = StandIn::take();
    texts::repeated(Ptx::Tensor, [0, 1, 7], |order| {
        stand_in.order(order);
        stand_in.find_races(true);
    });
}

#[test]
fn states_move_to_the_processor_and_back() {
    let _stand_in = StandIn::take();
    texts::moved(Ptx::Tensor);
}

#[test]
fn embeddings_are_those_of_the_processor() {
    let _stand_in = StandIn::take();
    for ptx in [Ptx::Dot, Ptx::Tensor] {
        println!("{:.1e} off", texts::embedded(ptx));
    }
}

#[test]
fn memory_is_what_the_plan_says() {
    let stand_in = StandIn::take();
    let (model, limits) = (small(SMALL[0], Type::Q8), limits(KvType::Int8));
    let cuda = Cuda::detect().unwrap();
    on_device(&model, &limits, |texts| {
        everything(texts).unwrap();
        embedding(texts, Pooling::Mean).unwrap();
        let parts = Backend::Cuda(cuda).device_parts(&model.file(), texts.plan());
        let planned: usize = parts.iter().map(|part| part.bytes).sum();
        // Where the mapped file can be read, nothing is copied.
        assert_eq!(stand_in.counters()["live_bytes"], planned + texts.engine().copied_bytes());
        assert_eq!(texts.engine().copied_bytes(), 0);
    });
    let counters = stand_in.counters();
    assert_eq!((&counters["live_bytes"], &counters["live_allocations"]), (&0.into(), &0.into()));
}

#[test]
fn a_token_is_one_graph_and_two_copies() {
    let stand_in = StandIn::take();
    let (model, limits) = (small(SMALL[0], Type::Q8), limits(KvType::Int8));
    let mut sampler = Sampler::new(Sampling::default());
    on_device(&model, &limits, |texts| {
        texts.text(0).prefill(&[40, 41, 42], &mut |_| Ok(())).unwrap();
        let count = |texts: &mut Texts<'_, CudaEngine<'_>>, sampler: &mut Sampler<'_>| {
            let before = stand_in.counters();
            texts.text(0).next(sampler).unwrap();
            let after = stand_in.counters();
            ["graph_launches", "host_to_device_copies", "device_to_host_copies"]
                .map(|name| after[name].as_u64().unwrap() - before[name].as_u64().unwrap())
        };
        // The first token behind the prompt has its logits already; the next one makes the graph.
        for _ in 0..3 {
            count(texts, &mut sampler);
        }
        for _ in 0..5 {
            assert_eq!(count(texts, &mut sampler), [1, 1, 1]);
        }
    });
}

/// Whatever call of the driver fails, there is an error, and everything is given back.
#[test]
fn every_call_of_the_driver_may_fail() {
    let stand_in = StandIn::take();
    let (model, limits) = (small(SMALL[0], Type::Q8), limits(KvType::Int8));
    // What there is to find is asked once in a process.
    let cuda = Cuda::detect().unwrap();
    let mut failures = 0;
    for call in 1.. {
        stand_in.reset();
        stand_in.fail(call);
        let before = stand_in.calls();
        let plan = Plan::new(&model.file(), &limits).unwrap().without_engine();
        let mut memory = Aligned::zeroed(plan.total_bytes());
        let outcome = CudaEngine::new(cuda, model.file(), plan);
        let outcome = outcome.and_then(|engine| {
            let mut texts = Texts::new(model.file(), engine, memory.as_mut());
            for token in [40, 41, 42] {
                texts.text(0).push(token, None)?;
                texts.text(0).logits()?;
            }
            texts.copy(0, 1, 2)?;
            let mut state = vec![0; texts.text(0).state_bytes()];
            texts.text(0).save(0, &mut state)?;
            texts.text(2).restore(&state)?;
            embedding(&mut texts, Pooling::Last)
        });
        let counters = stand_in.counters();
        let was_made = stand_in.calls() - before >= call;
        match outcome {
            Err(error) => {
                let code = error.code();
                assert!(matches!(code, Code::DeviceLost | Code::Resource), "{call}: {error}");
                failures += 1;
            }
            // What cannot be registered is copied; what cannot be freed goes with the process.
            Ok(_) if was_made => continue,
            Ok(_) => break,
        }
        assert_eq!(counters["live_allocations"], 0, "{call}: something is left");
    }
    assert!(failures > 30, "only {failures} calls failed");
}

/// The prompt is one whose next tokens are much likelier than others: where two are nearly as
/// likely, tiers of the processor disagree as well.
#[test]
fn the_real_model_says_the_same() {
    let test = "the_real_model_says_the_same";
    let stand_in = StandIn::take();
    for kind in [Type::Q4, Type::Q8] {
        let Some(model) = real(test, kind) else { return };
        let limits = Limits { texts: 1, context: 64, batch: 16, ..limits(KvType::Int8) };
        let prompt = model.tokenize("def print_hello_world():").unwrap();
        let plan = Plan::new(&model.file(), &limits).unwrap();
        let mut memory = Aligned::zeroed(plan.total_bytes());
        let texts = Texts::on_cpu(model.file(), &limits, Tier::best(), Alone, memory.as_mut());
        let expected = greedy(&mut texts.unwrap(), &prompt);
        let found = on_device(&model, &limits, |texts| greedy(texts, &prompt));
        assert_eq!(found, expected, "{kind:?}: {}", stand_in.last_fault());
    }
}

/// Tokens of a greedy text.
fn greedy<E: Engine>(texts: &mut Texts<'_, E>, prompt: &[u32]) -> Vec<u32> {
    let mut sampler = Sampler::new(Sampling::default());
    texts.text(0).prefill(prompt, &mut |_| Ok(())).unwrap();
    (0..16).map(|_| texts.text(0).next(&mut sampler).unwrap()).collect()
}

#[test]
fn the_command_runs_on_every_board() {
    let model = small(SMALL[1], Type::Q8);
    drop(model);
    let path = converted_path(SMALL[1], Type::Q8);
    let file = path.to_str().unwrap();
    let run = ["run", file, "-p", "a b c", "-n", "6", "--temp", "0", "--json"];
    let boards = ["orin", "orin5", "orin-nano", "xavier", "xavier-nx", "thor", "discrete"];
    let tokens = boards.map(|board| {
        let said = on_board(board, &[&run[..], &["--tier", "cuda"]].concat());
        let said: Value = serde_json::from_str(&said.ok()).unwrap();
        assert_eq!(said["tier"], "cuda", "{board}");
        said["tokens"].clone()
    });
    assert!(tokens.iter().all(|found| *found == tokens[0] && found.as_array().unwrap().len() == 6));
    let plan = on_board("orin", &["plan", file, "--tier", "cuda", "--json"]);
    let plan: Value = serde_json::from_str(&plan.ok()).unwrap();
    let parts = plan["device_parts"].as_array().unwrap();
    let sum: u64 = parts.iter().map(|part| part["bytes"].as_u64().unwrap()).sum();
    assert_eq!(plan["device_bytes"], sum);
    let said = on_board("none", &[&run[..], &["--tier", "cuda"]].concat());
    assert!(said.code == Some(1) && said.err.contains("no CUDA"), "{said:?}");
}
