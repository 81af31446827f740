//! The names that stand for models of the Hugging Face hub.

/// A model that can be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// What the cache calls it: the known name, else `owner--name`.
    pub key: String,
    /// `owner/name` on the hub.
    pub repo: String,
}

/// Known names and the repositories that they stand for.
pub const KNOWN: [(&str, &str); 12] = [
    ("smollm-135m", "HuggingFaceTB/SmolLM-135M"),
    ("smollm-135m-instruct", "HuggingFaceTB/SmolLM-135M-Instruct"),
    ("smollm-360m", "HuggingFaceTB/SmolLM-360M"),
    ("smollm-360m-instruct", "HuggingFaceTB/SmolLM-360M-Instruct"),
    ("smollm-1.7b", "HuggingFaceTB/SmolLM-1.7B"),
    ("smollm-1.7b-instruct", "HuggingFaceTB/SmolLM-1.7B-Instruct"),
    ("smollm2-135m", "HuggingFaceTB/SmolLM2-135M"),
    ("smollm2-135m-instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"),
    ("smollm2-360m", "HuggingFaceTB/SmolLM2-360M"),
    ("smollm2-360m-instruct", "HuggingFaceTB/SmolLM2-360M-Instruct"),
    ("smollm2-1.7b", "HuggingFaceTB/SmolLM2-1.7B"),
    ("smollm2-1.7b-instruct", "HuggingFaceTB/SmolLM2-1.7B-Instruct"),
];

/// The model that a name stands for: a known name in any case, or `owner/name`.
///
/// Both ways of naming a known model give the same key, so that it is fetched once.
pub fn resolve(name: &str) -> Option<Remote> {
    let known = KNOWN
        .iter()
        .find(|(short, repo)| short.eq_ignore_ascii_case(name) || repo.eq_ignore_ascii_case(name));
    if let Some((short, repo)) = known {
        return Some(Remote { key: (*short).into(), repo: (*repo).into() });
    }
    let (owner, model) = name.split_once('/')?;
    let valid = is_hub_word(owner) && is_hub_word(model) && !name.ends_with(".gguf");
    valid.then(|| Remote { key: format!("{owner}--{model}"), repo: name.into() })
}

/// Whether the hub allows this as an owner or a model: letters, digits, `-`, `_` and inner dots.
fn is_hub_word(word: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !word.is_empty()
        && word.len() <= 96
        && word.chars().all(inner)
        && !word.starts_with(['.', '-'])
        && !word.ends_with('.')
        && !word.ends_with(".kinglet")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_and_their_repositories_share_a_key() {
        for (short, repo) in KNOWN {
            assert_eq!(resolve(short), resolve(repo));
            assert_eq!(resolve(&short.to_uppercase()).unwrap().key, short);
        }
    }

    #[test]
    fn other_models_are_named_by_owner() {
        let other = resolve("someone/My_Model-1.0").unwrap();
        assert_eq!(other.key, "someone--My_Model-1.0");
        assert_eq!(other.repo, "someone/My_Model-1.0");
    }

    #[test]
    fn paths_are_not_taken_for_names() {
        let paths = ["model.kinglet", "./a", "../a", "a/b/c", "/tmp/a", "a/", "/a", "a/b.kinglet"];
        for path in paths.into_iter().chain(["a/m.gguf", "a b/c", "nothing-known", ""]) {
            assert_eq!(resolve(path), None, "{path}");
        }
    }
}
