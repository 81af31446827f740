//! The tokenizer gives what the `tokenizers` library gives, and its output streams back.

use fastrand::Rng;
use kinglet_core::tokenizer::{PUT_BEFORE, Span, Specials, TextStream, Tokenizer};
use kinglet_quant::vocab::{FLAG_CHARACTERS, SPACE_MARK};
use kinglet_quant::{Code, Config, TokenizerTables, Vocab};
use kinglet_tests::shared::shared;
use kinglet_tests::strings::{break_bytes, string};
use proptest::prelude::*;
use serde_json::{Value, json};

const SMALL: &str = include_str!("../quant/goldens/small-tokenizer.json");
/// Words as in Llama 3, and a token before every text.
const LLAMA3: &str = include_str!("../quant/goldens/llama3-tokenizer.json");
/// Characters as in sentencepiece, and a token before every text.
const PIECES: &str = include_str!("../quant/goldens/pieces-tokenizer.json");
/// The same vocabulary as GGUF files have it, and texts with sentencepiece's own tokens.
const PIECES_TABLE: &str = include_str!("../quant/goldens/pieces.json");
const REAL: &str = "data/smollm2-135m-instruct/tokenizer.json";

/// Generated strings for each of the two tokenizers, unless `KINGLET_TEST_STRINGS` says otherwise.
/// They have some 65,000 pieces together: each kind of piece comes beside each other kind hundreds
/// of times. With 100,000 strings all agreed on 2026-11-29.
const STRINGS: usize = 10_000;

fn strings() -> usize {
    std::env::var("KINGLET_TEST_STRINGS").map_or(STRINGS, |count| count.parse().unwrap())
}

/// The `VOCAB` section of a tokenizer, at an address that a mapped file would give it.
struct Section {
    words: Vec<u64>,
    tokens: u32,
}

impl Section {
    fn new(json: &str) -> Self {
        Self::of(&TokenizerTables::from_tokenizer_json(json).unwrap())
    }

    fn of(tables: &TokenizerTables) -> Self {
        let section = tables.to_section();
        let mut words = vec![0u64; section.len().div_ceil(8)];
        bytemuck::cast_slice_mut(&mut words)[..section.len()].copy_from_slice(&section);
        Self { words, tokens: tables.len() as u32 }
    }

    fn tokenizer(&self) -> kinglet_quant::Result<Tokenizer<'_>> {
        let config = Config { vocab_size: self.tokens, ..bytemuck::Zeroable::zeroed() };
        Ok(Tokenizer::new(Vocab::new(bytemuck::cast_slice(&self.words), &config)?))
    }
}

/// The reference for both treatments of special tokens.
struct Reference {
    parse: tokenizers::Tokenizer,
    as_text: tokenizers::Tokenizer,
}

impl Reference {
    fn new(json: &str) -> Self {
        let parse: tokenizers::Tokenizer = json.parse().unwrap();
        let mut as_text = parse.clone();
        as_text.set_encode_special_tokens(true);
        Self { parse, as_text }
    }

    fn encode(&self, text: &[u8], specials: Specials) -> Vec<u32> {
        let tokenizer = match specials {
            Specials::Parse => &self.parse,
            Specials::AsText => &self.as_text,
        };
        let text = String::from_utf8_lossy(text);
        // With all that the library adds to a text, so that a tokenizer which adds any is found.
        tokenizer.encode_fast(text.as_ref(), true).unwrap().get_ids().to_vec()
    }
}

fn encode(tokenizer: &Tokenizer<'_>, text: &[u8], specials: Specials) -> Vec<u32> {
    let mut out = vec![0; Tokenizer::max_tokens(text.len())];
    let count = tokenizer.encode(text, specials, &mut out).unwrap();
    out.truncate(count);
    out
}

/// What streams out for the given pieces of bytes.
fn stream<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> String {
    let mut stream = TextStream::new();
    let mut text = String::new();
    for piece in pieces {
        stream.push(piece, |piece| text.push_str(piece));
    }
    stream.finish(|piece| text.push_str(piece));
    text
}

/// Compares one text; also decodes and streams it back.
fn check(tokenizer: &Tokenizer<'_>, reference: &Reference, text: &[u8]) {
    let parsed = reference.encode(text, Specials::Parse);
    // Without control tokens both treatments are the same, which spares the slow reference.
    let has_control = parsed.iter().any(|&token| tokenizer.vocab().is_control(token));
    let as_text =
        if has_control { reference.encode(text, Specials::AsText) } else { parsed.clone() };
    for (specials, expected) in [(Specials::Parse, parsed), (Specials::AsText, as_text)] {
        let tokens = encode(tokenizer, text, specials);
        assert_eq!(tokens, expected, "{specials:?} of {:?}", String::from_utf8_lossy(text));
        let has_token = |&byte: &u8| tokenizer.vocab().byte_token(byte).is_some();
        let text = String::from_utf8_lossy(text);
        let mut known: Vec<u8> = text.bytes().filter(has_token).collect();
        let begin = usize::from(tokenizer.vocab().begin().is_some());
        let pieces = || tokens[begin..].iter().map(|&token| tokenizer.decode(token));
        let decoded: Vec<u8> = pieces().flatten().copied().collect();
        // Added tokens may be spelled with bytes that have no token of their own.
        if decoded.iter().all(has_token) {
            let mut decoded = decoded.clone();
            // Spaces are put before texts, and one character is another spelling of a space.
            if tokenizer.vocab().has(FLAG_CHARACTERS) {
                known = text.replace(SPACE_MARK, "").into_bytes();
                [&mut known, &mut decoded].into_iter().for_each(|all| all.retain(|&b| b != b' '));
            }
            assert_eq!(decoded, known);
        }
        assert_eq!(stream(pieces()), String::from_utf8_lossy(&decoded));
    }
}

fn check_strings(json: &str, count: usize, seed: u64) {
    let section = Section::new(json);
    let tokenizer = section.tokenizer().unwrap();
    let reference = Reference::new(json);
    let mut rng = Rng::with_seed(seed);
    for index in 0..count {
        let text = string(&mut rng);
        check(&tokenizer, &reference, text.as_bytes());
        if index % 4 == 0 {
            check(&tokenizer, &reference, &break_bytes(&text, &mut rng));
        }
    }
}

/// The tokens of texts one behind the other, each with what becomes of its control tokens.
fn encode_parts(tokenizer: &Tokenizer<'_>, parts: &[(&str, Specials)]) -> Vec<u32> {
    let text: String = parts.iter().map(|(part, _)| *part).collect();
    let mut end = 0;
    let mut spans = parts.iter().map(|&(part, specials)| {
        end += part.len();
        Span { end, specials }
    });
    let mut out = vec![0; Tokenizer::max_tokens(text.len())];
    let count = tokenizer.encode_spans(text.as_bytes(), &mut spans, &mut out).unwrap();
    out.truncate(count);
    out
}

/// A text in parts that are treated alike is the whole text, wherever it is cut.
#[test]
fn borders_between_spans_that_are_treated_alike_do_not_matter() {
    let section = Section::new(SMALL);
    let tokenizer = section.tokenizer().unwrap();
    let mut rng = Rng::with_seed(8);
    for _ in 0..5_000 {
        let text = string(&mut rng);
        for specials in [Specials::Parse, Specials::AsText] {
            let mut cuts: Vec<usize> =
                (0..rng.usize(..6)).map(|_| rng.usize(..=text.len())).collect();
            cuts.iter_mut().for_each(|cut| *cut = text.floor_char_boundary(*cut));
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let parts = cuts.windows(2).map(|cut| (&text[cut[0]..cut[1]], specials));
            let parts: Vec<_> = parts.collect();
            let expected = encode(&tokenizer, text.as_bytes(), specials);
            assert_eq!(encode_parts(&tokenizer, &parts), expected, "{parts:?}");
        }
    }
}

#[test]
fn control_tokens_lie_in_their_span() {
    use Specials::{AsText, Parse};
    let section = Section::new(SMALL);
    let tokenizer = section.tokenizer().unwrap();
    let control = encode(&tokenizer, b"<|im_end|>", Parse);
    let is_control = |tokens: &[u32]| tokens.iter().filter(|&&t| control == [t]).count();
    assert_eq!(is_control(&control), 1);
    for (parts, expected) in [
        (&[("<|im_end|>", AsText), ("<|im_end|>", Parse), ("<|im_end|>", AsText)][..], 1),
        (&[("<|im", Parse), ("_end|>", Parse), ("<|im_end|>", AsText)], 1),
        (&[("<|im", Parse), ("", AsText), ("_end|>", Parse)], 1),
        (&[("<|im", AsText), ("_end|>", Parse)], 0),
        (&[("<|im_end|", Parse), (">", AsText), ("<|im_end|>", Parse)], 1),
        (&[("", AsText), ("<|im_end|>", Parse)], 1),
        (&[("<", AsText), ("|im_end|>", AsText), ("<|im_end|><|im_end|>", Parse)], 2),
    ] {
        assert_eq!(is_control(&encode_parts(&tokenizer, parts)), expected, "{parts:?}");
    }
    // Words reach across borders.
    let (text, parts) = ("upon a time", [("up", Parse), ("on a ti", AsText), ("me", Parse)]);
    assert_eq!(encode_parts(&tokenizer, &parts), encode(&tokenizer, text.as_bytes(), Parse));
}

/// The small tokenizer with other settings, added tokens and bytes.
fn variant(edit: impl FnOnce(&mut Value)) -> String {
    let mut json: Value = serde_json::from_str(SMALL).unwrap();
    edit(&mut json);
    json.to_string()
}

fn byte_level(use_regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
           "use_regex": use_regex})
}

fn added(id: usize, content: &str, special: bool, normalized: bool) -> Value {
    json!({"id": id, "content": content, "special": special, "normalized": normalized,
           "single_word": false, "lstrip": false, "rstrip": false})
}

#[test]
fn small_tokenizer_agrees_on_generated_strings() {
    check_strings(SMALL, strings(), 1);
}

#[test]
fn real_tokenizer_agrees_on_generated_strings() {
    let Some(path) = shared("real_tokenizer_agrees_on_generated_strings", REAL) else { return };
    check_strings(&std::fs::read_to_string(path).unwrap(), strings(), 2);
}

#[test]
fn real_tokenizer_agrees_on_wikitext() {
    let name = "real_tokenizer_agrees_on_wikitext";
    let (Some(json), Some(text)) = (shared(name, REAL), shared(name, "data/wikitext2-valid.txt"))
    else {
        return;
    };
    let json = std::fs::read_to_string(json).unwrap();
    let section = Section::new(&json);
    check(&section.tokenizer().unwrap(), &Reference::new(&json), &std::fs::read(text).unwrap());
}

#[test]
fn other_ways_to_split_agree() {
    let digits = json!({"type": "Digits", "individual_digits": true});
    let sequence = |steps: Value| json!({"type": "Sequence", "pretokenizers": steps});
    let pre_tokenizers = [
        byte_level(true),
        byte_level(false),
        sequence(json!([byte_level(true)])),
        sequence(json!([digits, byte_level(false)])),
    ];
    for (seed, pre_tokenizer) in (3..).zip(pre_tokenizers) {
        check_strings(&variant(|json| json["pre_tokenizer"] = pre_tokenizer), 4000, seed);
    }
}

#[test]
fn words_of_llama_3_agree() {
    let section = Section::new(LLAMA3);
    let (tokenizer, reference) = (section.tokenizer().unwrap(), Reference::new(LLAMA3));
    // Words that merging does not make are in the vocabulary all the same.
    assert!(tokenizer.vocab().whole(b"unmerged").is_some());
    check_strings(LLAMA3, strings(), 14);
    for text in [
        "'S 'ſ 'Re 'LL 'x ''s 'é don't DON'T !\n\n x!\r\n \n\n  y \t\n",
        "1234567 12 1 ²³¼½¾ -word\u{301}word \u{a0}word\u{a0}\u{a0}1\u{2028}x",
        "<|begin_of_text|>x<|eot_id|> unmerged  wholly wholly12 12   3",
    ] {
        check(&tokenizer, &reference, text.as_bytes());
    }
}

#[test]
fn pieces_of_characters_agree() {
    let metaspace = |scheme: &str| {
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme,
               "split": false})
    };
    let edit = |scheme: &str| {
        let mut json: Value = serde_json::from_str(PIECES).unwrap();
        json["normalizer"] = Value::Null;
        json["pre_tokenizer"] = metaspace(scheme);
        json.to_string()
    };
    let forms = [PIECES.to_owned(), edit("first"), edit("always"), edit("never")];
    for (seed, json) in (15..).zip(&forms) {
        check_strings(json, strings() / 2, seed);
        let section = Section::new(json);
        let (tokenizer, reference) = (section.tokenizer().unwrap(), Reference::new(json));
        for text in ["", " ", "  a", "▁a▁ ▁", "<s>a</s> b<s>c", "a<s>", "<s>", "\u{0}\u{7F}é"]
        {
            check(&tokenizer, &reference, text.as_bytes());
        }
    }
    // A longer text takes time in proportion, as it is cut before spaces.
    let long = "some words, again and again ".repeat(20_000);
    let section = Section::new(PIECES);
    check(&section.tokenizer().unwrap(), &Reference::new(PIECES), long.as_bytes());
}

#[test]
fn settled_tokens_stay_whatever_follows() {
    let mut never: Value = serde_json::from_str(PIECES).unwrap();
    never["normalizer"]["normalizers"].as_array_mut().unwrap().remove(0);
    for (seed, json) in (30..).zip([SMALL, LLAMA3, &never.to_string()]) {
        let section = Section::new(json);
        let tokenizer = section.tokenizer().unwrap();
        let (mut rng, mut settled_count) = (Rng::with_seed(seed), 0);
        for _ in 0..3_000 {
            let text = format!("{}\n {}", string(&mut rng), string(&mut rng));
            let whole = encode_parts(&tokenizer, &[(&text, Specials::AsText)]);
            let cut = text.floor_char_boundary(rng.usize(..=text.len()));
            let mut out = vec![0; Tokenizer::max_tokens(cut)];
            let beginning = &text.as_bytes()[..cut];
            let count = tokenizer.encode_settled(beginning, false, &mut out).unwrap();
            assert!(whole.starts_with(&out[..count]), "{:?} of {text:?}", &text[..cut]);
            settled_count += count;
        }
        assert!(settled_count > 30_000, "only {settled_count} tokens were settled");
    }
}

#[test]
fn pieces_by_their_scores_agree_with_sentencepiece() {
    let table: Value = serde_json::from_str(PIECES_TABLE).unwrap();
    let list = |key: &str| table[key].as_array().unwrap().iter();
    let tokens: Vec<String> = list("tokens").map(|t| t.as_str().unwrap().to_owned()).collect();
    let scores: Vec<f32> = list("scores").map(|score| score.as_f64().unwrap() as f32).collect();
    let types: Vec<i32> = list("types").map(|kind| kind.as_i64().unwrap() as i32).collect();
    let tables = TokenizerTables::from_gguf_pieces(&tokens, &scores, &types, true).unwrap();
    let section = Section::of(&tables);
    let tokenizer = section.tokenizer().unwrap();
    assert!(list("texts").len() > 15);
    for case in list("texts") {
        let text = case["text"].as_str().unwrap();
        let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
        assert_eq!(encode(&tokenizer, text.as_bytes(), Specials::AsText), ids, "{text:?}");
    }
    // What spells a control token stays text.
    assert!(!encode(&tokenizer, b"<s></s>", Specials::AsText).iter().any(|&token| token < 3));
}

#[test]
fn steps_that_change_nothing_agree() {
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let other = json!({"Sequence": {"id": "B", "type_id": 1}});
    let template = json!({"type": "TemplateProcessing", "single": [text], "pair": [text, other],
                          "special_tokens": {}});
    let bytes = byte_level(true);
    let steps = [
        ("normalizer", json!({"type": "Sequence", "normalizers": []})),
        ("post_processor", template.clone()),
        ("post_processor", json!({"type": "Sequence", "processors": [bytes]})),
        ("post_processor", json!({"type": "Sequence", "processors": [bytes, template]})),
        ("decoder", json!({"type": "Sequence", "decoders": [bytes]})),
        ("decoder", json!({"type": "Sequence", "decoders": [bytes, {"type": "Fuse"}]})),
    ];
    let section = Section::new(SMALL);
    for (seed, (part, step)) in (20..).zip(steps) {
        let changed = variant(|json| json[part] = step.clone());
        assert!(Section::new(&changed).words == section.words, "{step} changes the tables");
        check_strings(&changed, 500, seed);
        let reference = Reference::new(&changed);
        let text = "The quick brown fox, 12 + 30";
        let tokens = reference.encode(text.as_bytes(), Specials::Parse);
        assert_eq!(reference.parse.decode(&tokens, false).unwrap(), text, "{step}");
    }
}

#[test]
fn added_tokens_that_begin_alike_or_contain_each_other_agree() {
    let json = variant(|json| {
        let tokens = json["model"]["vocab"].as_object().unwrap().len();
        let contents =
            ["<|im", "<|im_start|>user", "im_end", "fox", "print", "    ", "🏳️", "\u{301}"];
        for (index, content) in contents.into_iter().enumerate() {
            let token = added(tokens + index, content, index % 2 == 0, false);
            json["added_tokens"].as_array_mut().unwrap().push(token);
        }
    });
    check_strings(&json, 10_000, 10);
}

#[test]
fn normalized_added_tokens_agree() {
    let json = variant(|json| {
        let tokens = json["model"]["vocab"].as_object().unwrap().len();
        for (index, content) in ["quick", "quick brown", "world", "ø"].into_iter().enumerate() {
            let token = added(tokens + index, content, false, true);
            json["added_tokens"].as_array_mut().unwrap().push(token);
        }
    });
    check_strings(&json, 4000, 11);
}

#[test]
fn long_words_agree() {
    let section = Section::new(SMALL);
    let tokenizer = section.tokenizer().unwrap();
    let reference = Reference::new(SMALL);
    let mut rng = Rng::with_seed(12);
    let lengths = [1, 2, 15, 16, 17, 31, 32, 33, 255, 256, 257, 4095, 4096, 4097, 5000, 65_536];
    for length in lengths {
        check(&tokenizer, &reference, "a".repeat(length).as_bytes());
        check(&tokenizer, &reference, " ".repeat(length).as_bytes());
        check(&tokenizer, &reference, "\n ".repeat(length / 2).as_bytes());
        let letters: String = (0..length).map(|_| rng.lowercase()).collect();
        check(&tokenizer, &reference, letters.as_bytes());
        let few: String = (0..length).map(|_| rng.choice(['e', 'r', 't', 'h']).unwrap()).collect();
        check(&tokenizer, &reference, few.as_bytes());
    }
}

#[test]
fn room_is_checked() {
    let section = Section::new(SMALL);
    let tokenizer = section.tokenizer().unwrap();
    let mut rng = Rng::with_seed(13);
    for _ in 0..2000 {
        let text = string(&mut rng);
        let expected = encode(&tokenizer, text.as_bytes(), Specials::Parse);
        let mut out = vec![0; text.len()];
        let count = tokenizer.encode(text.as_bytes(), Specials::Parse, &mut out).unwrap();
        assert_eq!(out[..count], expected, "a token per byte is enough");
        let mut short = vec![0; expected.len().saturating_sub(1)];
        let result = tokenizer.encode(text.as_bytes(), Specials::Parse, &mut short);
        if !expected.is_empty() {
            assert_eq!(result.unwrap_err().code(), Code::PromptTooLong);
        }
    }
    let broken = [0xFF; 9];
    assert_eq!(encode(&tokenizer, &broken, Specials::Parse).len(), 9 * 3);
    assert_eq!(Tokenizer::max_tokens(9), 9 * 3 + PUT_BEFORE);
}

#[test]
fn control_tokens_are_the_special_ones() {
    let json = variant(|json| {
        let tokens = json["model"]["vocab"].as_object().unwrap().len();
        let token = added(tokens, "fox", false, false);
        json["added_tokens"].as_array_mut().unwrap().push(token);
    });
    let section = Section::new(&json);
    let tokenizer = section.tokenizer().unwrap();
    let tokens = encode(&tokenizer, b"<|im_end|>fox", Specials::Parse);
    assert_eq!(tokens, [2, section.tokens - 1]);
    assert!(tokenizer.vocab().is_control(2));
    assert!(!tokenizer.vocab().is_control(section.tokens - 1));
    let as_text = encode(&tokenizer, b"<|im_end|>fox", Specials::AsText);
    assert!(as_text.len() > 2 && as_text.ends_with(&tokens[1..]));
}

#[test]
fn flipped_bits_are_an_error_or_a_tokenizer_that_works() {
    let clean = Section::new(SMALL);
    let mut rng = Rng::with_seed(14);
    let (mut refused, mut opened) = (0, 0);
    for _ in 0..3000 {
        let mut section = Section { words: clean.words.clone(), tokens: clean.tokens };
        for _ in 0..rng.usize(1..=3) {
            let word = rng.choice(&mut section.words).unwrap();
            *word ^= 1 << rng.u32(0..64);
        }
        let Ok(tokenizer) = section.tokenizer() else {
            refused += 1;
            continue;
        };
        opened += 1;
        let text = string(&mut rng);
        let tokens = encode(&tokenizer, &break_bytes(&text, &mut rng), Specials::Parse);
        stream(tokens.iter().map(|&token| tokenizer.decode(token)));
    }
    assert!(refused > 100 && opened > 100, "{refused} refused, {opened} opened");
}

#[test]
fn truncated_tables_are_an_error() {
    let clean = Section::new(SMALL);
    for words in 0..clean.words.len() - 1 {
        let section = Section { words: clean.words[..words].to_vec(), tokens: clean.tokens };
        assert_eq!(section.tokenizer().unwrap_err().code(), Code::Truncated);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn any_bytes_stream_as_lossy_text(
        pieces in prop::collection::vec(prop::collection::vec(
            prop_oneof![
                any::<u8>(),
                prop::sample::select(&[b'a', 0x80, 0x9F, 0xBF, 0xC3, 0xE2, 0xED, 0xF0, 0xF4][..]),
            ],
            0..6,
        ), 0..8),
    ) {
        let text = stream(pieces.iter().map(Vec::as_slice));
        prop_assert_eq!(text, String::from_utf8_lossy(&pieces.concat()).into_owned());
    }
}
