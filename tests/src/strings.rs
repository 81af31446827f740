//! Seeded strings that are hard on a tokenizer.

use fastrand::Rng;

/// Ranges of characters: scripts, marks, digits, symbols and whole planes.
const RANGES: [(u32, u32); 22] = [
    (0x20, 0x7E),         // ASCII
    (0x00, 0x1F),         // controls
    (0x80, 0xFF),         // Latin-1
    (0x100, 0x24F),       // Latin Extended
    (0x300, 0x36F),       // combining marks
    (0x370, 0x3FF),       // Greek
    (0x400, 0x4FF),       // Cyrillic
    (0x590, 0x6FF),       // Hebrew and Arabic with their marks and digits
    (0x900, 0x97F),       // Devanagari
    (0xE00, 0xE7F),       // Thai
    (0x2000, 0x206F),     // punctuation, spaces, joiners
    (0x2070, 0x218F),     // super- and subscripts, fractions, Roman numerals
    (0x2460, 0x24FF),     // enclosed numbers
    (0x3000, 0x30FF),     // CJK punctuation and kana
    (0x4E00, 0x9FFF),     // CJK
    (0xAC00, 0xD7FF),     // Hangul and the end before the surrogates
    (0xE000, 0xFFFF),     // private use, presentation forms, specials
    (0x10000, 0x1FFFF),   // supplementary plane: ancient scripts, numbers, emoji
    (0x1F300, 0x1FAFF),   // emoji
    (0x20000, 0x3FFFF),   // rare CJK
    (0x40000, 0xFFFFF),   // empty planes, tags, private use
    (0x100000, 0x10FFFF), // the last plane
];

/// Spaces of every kind, and characters that only look like spaces.
const SPACES: [char; 20] = [
    ' ', ' ', ' ', '\t', '\n', '\r', '\x0B', '\x0C', '\x1C', '\u{85}', '\u{A0}', '\u{1680}',
    '\u{180E}', '\u{2003}', '\u{200B}', '\u{2028}', '\u{202F}', '\u{205F}', '\u{3000}', '\u{FEFF}',
];

/// Text as people write it, contractions in every case, emoji of many parts, special tokens.
const SNIPPETS: [&str; 26] = [
    "the quick brown fox",
    "don't",
    "We'LL",
    "they've",
    "it's",
    "I'm",
    "you're",
    "he'd",
    "'S",
    "’s",
    "def print_hello_world():\n    print(\"Hello\")\n",
    "for (int i = 0; i < 10; ++i) {\n\t\n}",
    "3.14159",
    "1,000,000",
    "٣٤٥",
    "½ ⅷ ², 〇",
    "𝟘𝟙𝟚",
    "👩‍👩‍👧‍👦",
    "🏳️‍🌈",
    "👍🏽",
    "🇩🇪🇫🇷",
    "e\u{301}e\u{301}",
    "<|im_start|>user\n",
    "<|im_end|>",
    "<|endoftext|>",
    "<repo_name>",
];

/// A string of one to twelve pieces of different kinds.
pub fn string(rng: &mut Rng) -> String {
    let mut text = String::new();
    for _ in 0..rng.usize(1..=12) {
        push_piece(&mut text, rng);
    }
    text
}

fn push_piece(text: &mut String, rng: &mut Rng) {
    match rng.u32(0..10) {
        0..3 => text.push_str(rng.choice(SNIPPETS).expect("not empty")),
        3 => text.extend(cut(rng.choice(SNIPPETS).expect("not empty"), rng)),
        4 => text.extend((0..rng.usize(1..8)).map(|_| rng.choice(SPACES).expect("not empty"))),
        5 => text.extend((0..rng.usize(1..12)).map(|_| rng.digit(10))),
        6 => text.extend(std::iter::repeat_n(character(rng), rng.usize(1..100))),
        7 => text.extend((0..rng.usize(1..12)).map(|_| character(rng))),
        _ => {
            let range = rng.choice(RANGES).expect("not empty");
            text.extend((0..rng.usize(1..12)).map(|_| character_of(range, rng)));
        }
    }
}

/// A part of a snippet, such as half of a special token.
fn cut(snippet: &'static str, rng: &mut Rng) -> impl Iterator<Item = char> {
    let length = snippet.chars().count();
    snippet.chars().skip(rng.usize(0..length)).take(rng.usize(1..=length))
}

fn character(rng: &mut Rng) -> char {
    let range = rng.choice(RANGES).expect("not empty");
    character_of(range, rng)
}

fn character_of((first, last): (u32, u32), rng: &mut Rng) -> char {
    char::from_u32(rng.u32(first..=last)).expect("the ranges leave the surrogates out")
}

/// Breaks the UTF-8 of a text: changes, removes and inserts bytes.
pub fn break_bytes(text: &str, rng: &mut Rng) -> Vec<u8> {
    /// Lead bytes, continuations and bytes that UTF-8 never has.
    const BYTES: [u8; 12] =
        [0x80, 0x9F, 0xA0, 0xBF, 0xC0, 0xC3, 0xE0, 0xED, 0xEF, 0xF0, 0xF4, 0xFF];
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..rng.usize(1..6) {
        let at = rng.usize(0..=bytes.len());
        let byte = if rng.bool() { rng.u8(..) } else { rng.choice(BYTES).expect("not empty") };
        match rng.u32(0..3) {
            0 if at < bytes.len() => bytes[at] = byte,
            1 if at < bytes.len() => drop(bytes.remove(at)),
            _ => bytes.insert(at, byte),
        }
    }
    bytes
}
