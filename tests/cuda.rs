//! The engine for NVIDIA devices, on a stand-in for the driver: its kernels are what the scalar
//! definition says, and its texts are the processor's.

use kinglet::{KvType, Sampling, Tier, Type};
use kinglet_backends::{Backend, Checked, Checker, Cuda, CudaEngine, Ptx};
use kinglet_core::arena::Columns;
use kinglet_core::check::{self, Attention, Product, Random};
use kinglet_core::engine::{Chunk, Engine, Logits};
use kinglet_core::kernels::{Alone, Kernels, Output};
use kinglet_core::kv::KvLayout;
use kinglet_core::plan::{Limits, Plan};
use kinglet_core::sample::Sampler;
use kinglet_core::scalar::Scalar;
use kinglet_core::screen::Screen;
use kinglet_core::{Cpu, Texts};
use kinglet_quant::Code;
use kinglet_quant::format::TILE_ROWS;
use kinglet_tests::aligned::Aligned;
use kinglet_tests::compare::relative_rms;
use kinglet_tests::devices::{on_board, on_device};
use kinglet_tests::models::{SMALL, converted_path, real, small};
use kinglet_tests::observe::{Observed, TEXTS, everything, limits, on_cpu};
use kinglet_tests::stand_in::StandIn;
use serde_json::Value;

/// What logits of unquantized weights may be off together, as a root of mean squares.
const RELATIVE_RMS: f64 = 1e-3;
/// The same for quantized weights. Norms add in another order, which moves a few codes of inputs,
/// keys and values by one, and these models of random weights feel each.
const QUANTIZED_RMS: f64 = 5e-2;

#[test]
fn kernels_agree_with_scalar() {
    let _stand_in = StandIn::take();
    for ptx in [Ptx::Dot, Ptx::Tensor] {
        check::kernels(Checked(&Checker::new(Cuda::detect().unwrap(), ptx).unwrap()));
    }
}

/// Batches of several blocks of vectors and of tiles, and columns that are staged in parts.
#[test]
fn batches_agree_with_scalar() {
    let stand_in = StandIn::take();
    let checker = Checker::new(Cuda::detect().unwrap(), Ptx::Tensor).unwrap();
    let (mut random, mut launches) = (Random::new(5), 0);
    let formats = check::products().into_iter().filter(|case| {
        case.cols == 288 && case.tokens == 1 && case.kind.is_quantized() && !case.extreme
    });
    for format in formats {
        for (rows, cols, tokens, extreme) in
            [(16, 608, 64, false), (130, 96, 33, false), (60, 544, 16, true), (5, 1536, 9, false)]
        {
            let case = check::Product { rows, cols, tokens, extreme, ..format };
            let mut memory = check::Aligned::zeroed(case.weight_bytes());
            case.fill(memory.bytes_mut(), &mut random);
            let (w, inputs) = (case.matrix(memory.bytes()), case.inputs(&mut random));
            let width = w.tile_count() * TILE_ROWS;
            for output in [Output::Store, Output::Add] {
                let mut expected = random.vector(tokens * width, 1.0);
                let mut found = expected.clone();
                let (tiles, x) = (0..w.tile_count(), inputs.view());
                let columns = &mut Columns::all(&mut expected, width);
                Scalar.matmul(&w, tiles.clone(), &x, columns, output, &mut []);
                let columns = &mut Columns::all(&mut found, width);
                Checked(&checker).matmul(&w, tiles, &x, columns, output, &mut []);
                let is_same = found.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(is_same, "{case:?} {output:?}");
                launches += u64::from(case.kind != Type::Q8Planes);
            }
        }
    }
    assert_eq!(stand_in.counters()["kernels"]["product_tensor"]["launches"], launches);
    assert!(launches > 0, "no format was checked");
}

/// Products of a long prompt, in every format.
#[test]
fn products_of_many_vectors_agree_with_scalar() {
    let _stand_in = StandIn::take();
    let checker = Checker::new(Cuda::detect().unwrap(), Ptx::Tensor).unwrap();
    let mut random = Random::new(5);
    let cases = check::products().into_iter().filter(|case| (case.rows, case.tokens) == (40, 19));
    let formats: Vec<_> = cases.map(|case| Product { tokens: 64, ..case }).collect();
    assert!(formats.len() > 10);
    formats.iter().for_each(|case| check::matmul(Checked(&checker), case, &mut random));
}

/// The last position of a context of 2,048 attends to all of it: 16 spans of one block.
#[test]
fn attention_over_a_long_context_agrees_with_scalar() {
    let _stand_in = StandIn::take();
    let checker = Checker::new(Cuda::detect().unwrap(), Ptx::Tensor).unwrap();
    let mut random = Random::new(6);
    for kind in [KvType::Int8, KvType::F16] {
        for head_dim in [64, 112] {
            let case = Attention { kind, head_dim, group: 3, positions: 0..2048 };
            check::attend(Checked(&checker), &case, &mut random);
        }
    }
}

#[test]
fn keys_are_rotated_and_appended_as_scalar_does() {
    let _stand_in = StandIn::take();
    let checker = Checker::new(Cuda::detect().unwrap(), Ptx::Tensor).unwrap();
    let mut random = Random::new(3);
    for kind in [KvType::Int8, KvType::F16] {
        for (number, head_dim) in (16..=256).step_by(16).enumerate() {
            let layout = KvLayout::new(kind, head_dim, 40);
            let [mut expected, mut found] = [0, 1].map(|_| Aligned::zeroed(layout.block_bytes()));
            for position in [0, 1, 15, 16, 38] {
                let range = number as f32 * 0.7;
                let [key, value] = [0, 1].map(|_| random.vector(head_dim, range));
                let [cos, sin] = [0, 1].map(|_| random.vector(head_dim / 2, 1.0));
                let vectors = [&*key, &value];
                checker.rotate_and_append(&layout, found.as_mut(), position, vectors, [&cos, &sin]);
                let mut key = key.clone();
                Scalar.rope(&mut key, &cos, &sin);
                layout.store(expected.as_mut(), position, &key, &value);
            }
            assert!(expected.as_mut() == found.as_mut(), "{kind:?}, heads of {head_dim}");
        }
    }
}

/// [`everything`], where a failure says what the stand-in has found.
fn all_of<E: Engine>(texts: &mut Texts<'_, E>, stand_in: &StandIn) -> Observed {
    everything(texts).unwrap_or_else(|error| panic!("{error}: {}", stand_in.last_fault()))
}

/// Whether a device's texts are the processor's, and its logits near.
fn compare(what: &str, found: &Observed, expected: &Observed) {
    let floats = |bits: &[u32]| bits.iter().map(|&bits| f32::from_bits(bits)).collect::<Vec<_>>();
    for (found, expected) in found.logits.iter().zip(&expected.logits) {
        let off = relative_rms(&floats(found), &floats(expected));
        assert!(off <= RELATIVE_RMS, "{what}: logits are {off} off");
    }
    for reply in 0..TEXTS {
        assert_eq!(found.of_reply(reply), expected.of_reply(reply), "{what}");
    }
    assert_eq!(found.tokens, expected.tokens, "{what}");
}

#[test]
fn texts_of_unquantized_weights_are_those_of_the_processor() {
    let stand_in = StandIn::take();
    for (name, kind) in SMALL.into_iter().zip([Type::Bf16, Type::F32].into_iter().cycle()) {
        let (model, limits) = (small(name, kind), limits(KvType::F16));
        let expected = on_cpu(&model, &limits, |texts| everything(texts).unwrap());
        let found = on_device(&model, &limits, |texts| all_of(texts, &stand_in));
        compare(&format!("{name}, {kind:?}"), &found, &expected);
    }
}

#[test]
fn logits_of_quantized_weights_are_near() {
    let _stand_in = StandIn::take();
    let kinds = [Type::Q8, Type::Q5, Type::Q4, Type::Q3];
    for (number, (name, kind)) in SMALL.into_iter().zip(kinds.into_iter().cycle()).enumerate() {
        let limits = limits(if number % 2 == 0 { KvType::Int8 } else { KvType::F16 });
        let model = small(name, kind);
        let tokens: Vec<u32> = (0..70).map(|i| 30 + i * i % 97).collect();
        let expected = on_cpu(&model, &limits, |texts| scored(texts, &tokens));
        let found = on_device(&model, &limits, |texts| scored(texts, &tokens));
        let off = relative_rms(&found, &expected);
        println!("{name}, {kind:?}: {off:.1e} off");
        assert!(off <= QUANTIZED_RMS, "{name}, {kind:?}: logits are {off} off");
    }
}

/// Spans of attention are joined, and a prompt takes several passes.
#[test]
fn long_texts_are_those_of_the_processor() {
    let _stand_in = StandIn::take();
    for (name, kv) in [(SMALL[0], KvType::Int8), (SMALL[1], KvType::F16)] {
        let model = small(name, Type::Bf16);
        let limits = Limits { texts: 1, context: 256, batch: 70, ..limits(kv) };
        let tokens: Vec<u32> = (0..256).map(|i| 30 + i * i % 97).collect();
        for length in [127, 128, 129, 255] {
            let [expected, found] = [
                on_cpu(&model, &limits, |texts| behind(texts, &tokens[..length])),
                on_device(&model, &limits, |texts| behind(texts, &tokens[..length])),
            ];
            let off = relative_rms(&found, &expected);
            println!("{name}, {kv:?}, {length} tokens: {off:.1e} off");
            assert!(off <= RELATIVE_RMS, "{name}, {kv:?}: {length} tokens: {off}");
        }
    }
}

/// Logits behind a prompt, and behind one more token.
fn behind<E: Engine>(texts: &mut Texts<'_, E>, tokens: &[u32]) -> Vec<f32> {
    texts.text(0).prefill(tokens, &mut |_| Ok(())).unwrap();
    let mut logits = texts.text(0).logits().unwrap().to_vec();
    texts.text(0).push(50, None).unwrap();
    logits.extend_from_slice(texts.text(0).logits().unwrap());
    logits
}

/// A search of the head keeps the same tokens, whatever it is for.
#[test]
fn searches_keep_what_the_processor_keeps() {
    let _stand_in = StandIn::take();
    let (model, limits) = (small(SMALL[4], Type::Q8), limits(KvType::F16));
    let plan = Plan::new(&model.file(), &limits).unwrap();
    let mut memory = Aligned::zeroed(plan.engine_bytes());
    let mut here = Cpu::new(Scalar, Alone, model.file(), plan.clone(), memory.as_mut());
    let cuda = Cuda::detect().unwrap();
    let mut there = CudaEngine::new(cuda, model.file(), plan.without_engine()).unwrap();
    let vocab = model.config().vocab_size as usize;
    let mut left_out = 0;
    for (reach, top) in [(0.0, 0), (0.5, 0), (3.0, 0), (9.0, 1), (9.0, 2), (9.0, 40), (99.0, 0)] {
        let screen = Some(Screen { reach, top });
        let tokens = [31, 90, 47];
        let chunk = Chunk { text: 0, first: 0, tokens: &tokens, logits: Logits::All, screen };
        let engines: [&mut dyn Engine; 2] = [&mut here, &mut there];
        let kept = engines.map(|engine| {
            engine.run(&[chunk]).unwrap();
            [0, 1, 2].map(|row| {
                let mut tokens = vec![0; vocab];
                let count = engine.survivors(row, &mut tokens).unwrap().expect("a search");
                tokens.truncate(count);
                tokens
            })
        });
        assert_eq!(kept[0], kept[1], "reach {reach}, top {top}");
        left_out += kept[0].iter().map(|kept| vocab - kept.len()).sum::<usize>();
    }
    assert!(left_out > vocab, "searches that keep everything show nothing");
}

/// Logits behind all tokens of a text, some of which are taken alone and some together.
fn scored<E: Engine>(texts: &mut Texts<'_, E>, tokens: &[u32]) -> Vec<f32> {
    let mut logits = Vec::new();
    let (first, rest) = tokens.split_at(5);
    for &token in first {
        texts.text(1).push(token, None).unwrap();
        logits.extend_from_slice(texts.text(1).logits().unwrap());
    }
    texts.text(1).score(rest, &mut |_, row| logits.extend_from_slice(row)).unwrap();
    logits
}

/// The order in which a device runs warps and blocks is its own: no result may depend on it.
#[test]
fn no_order_of_warps_and_blocks_changes_a_bit() {
    let stand_in = StandIn::take();
    for (name, kind) in [(SMALL[1], Type::Q4), (SMALL[2], Type::Q8)] {
        let (model, limits) = (small(name, kind), limits(KvType::Int8));
        let observed = [0, 1, 7].map(|order| {
            stand_in.order(order);
            stand_in.find_races(true);
            on_device(&model, &limits, |texts| all_of(texts, &stand_in))
        });
        assert!(observed[1] == observed[0] && observed[2] == observed[0], "{name}");
    }
}

#[test]
fn states_move_to_the_processor_and_back() {
    let _stand_in = StandIn::take();
    for kv in [KvType::Int8, KvType::F16] {
        let (model, limits) = (small(SMALL[3], Type::Q8), limits(kv));
        let tokens: Vec<u32> = (0..37).map(|i| 40 + i * 3 % 50).collect();
        on_cpu(&model, &limits, |here| {
            on_device(&model, &limits, |there| {
                here.text(0).prefill(&tokens, &mut |_| Ok(())).unwrap();
                let mut state = vec![0; here.text(0).state_bytes()];
                here.text(0).save(7, &mut state).unwrap();
                there.text(2).restore(&state).unwrap();
                let mut again = vec![0; there.text(2).state_bytes()];
                there.text(2).save(7, &mut again).unwrap();
                assert!(again == state, "{kv:?}: the device saves what it has not restored");
                here.text(1).copy_from(&mut there.text(2), tokens.len()).unwrap();
                let [own, moved] = [0, 1].map(|text| here.text(text).logits().unwrap().to_vec());
                assert!(own == moved, "{kv:?}: what came back is another text");
                let off = relative_rms(there.text(2).logits().unwrap(), &own);
                assert!(off <= QUANTIZED_RMS, "{kv:?}: logits are {off} off");
            });
        });
    }
}

#[test]
fn memory_is_what_the_plan_says() {
    let stand_in = StandIn::take();
    let (model, limits) = (small(SMALL[0], Type::Q8), limits(KvType::Int8));
    let cuda = Cuda::detect().unwrap();
    on_device(&model, &limits, |texts| {
        everything(texts).unwrap();
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
            texts.text(2).restore(&state)
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
