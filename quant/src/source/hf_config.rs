//! `config.json` and `generation_config.json` of a Hugging Face folder.

use super::frequencies::{self, Scaling};
use super::hf_tokenizer::TokenizerConfig;
use super::{checked, set_eos, to_u32};
use crate::config::{Config, FEATURE_ATTENTION_BIAS, FEATURE_FFN_BIAS, NO_TOKEN};
use crate::json::Object;
use crate::vocab_build::TokenizerTables;
use crate::{Code, Result, ensure, fail};
use bytemuck::Zeroable;
use serde_json::Value;

/// The file's name.
pub(super) const NAME: &str = "config.json";

/// Kinds of models around a decoder that compute something else with what it makes.
const OTHER_HEADS: [&str; 4] =
    ["SequenceClassification", "TokenClassification", "QuestionAnswering", "RewardModel"];

/// What `config.json` says; absent keys have the defaults of transformers' `LlamaConfig`.
pub(super) struct ModelConfig {
    settings: Object,
    rope: Object,
    scaling: Option<Scaling>,
}

impl ModelConfig {
    /// Reads the file's text. `BadSource`, or `UnsupportedArchitecture` for everything that would
    /// change the arithmetic of the model.
    pub fn parse(text: &str) -> Result<Self> {
        let settings = Object::parse(NAME, text)?;
        reject_other_models(&settings)?;
        // As transformers has it: the old name counts before the new one.
        let old = settings.object("rope_scaling")?.filter(|rope| !rope.is_empty());
        let rope = match old {
            Some(rope) => rope,
            None => settings.object("rope_parameters")?.unwrap_or_default(),
        };
        let mut config = Self { settings, rope, scaling: None };
        config.reject_unsupported()?;
        config.scaling = config.read_scaling()?;
        Ok(config)
    }

    /// Whether the file calls head and embedding one matrix.
    pub fn is_tied(&self) -> Result<bool> {
        self.settings.flag("tie_word_embeddings")
    }

    fn reject_unsupported(&self) -> Result<()> {
        let settings = &self.settings;
        let activation = settings.text("hidden_act")?.unwrap_or("silu");
        ensure!(
            activation == "silu" || activation == "swish",
            Code::UnsupportedArchitecture,
            "{NAME} asks for the activation {activation}: only silu is supported"
        );
        ensure!(
            !settings.flag("rope_interleaved")?,
            Code::UnsupportedArchitecture,
            "{NAME} sets rope_interleaved, which Kinglet does not support"
        );
        if let Some(quantization) = settings.object("quantization_config")? {
            let method = quantization.text("quant_method")?.unwrap_or("a method without a name");
            fail!(
                Code::UnsupportedTensorType,
                "{NAME} says that the weights are quantized already ({method}): use the original \
                 in F32, F16 or BF16, or call dequantize() in transformers and save the model"
            );
        }
        Ok(())
    }

    /// How rotary positions are scaled; a scaling by 1 is none.
    fn read_scaling(&self) -> Result<Option<Scaling>> {
        let given = match self.rope.text("rope_type")? {
            Some(kind) => Some(kind),
            None => self.rope.text("type")?,
        };
        let kind = given.unwrap_or("default");
        let factor = self.rope.number("factor")?;
        let scaling = match (kind, factor) {
            ("linear" | "llama3", Some(1.0)) => None,
            ("linear", Some(factor)) => Some(Scaling::Linear { factor: factor as f32 }),
            ("llama3", Some(factor)) => Some(self.llama3(factor as f32)?),
            ("default", factor) if given.is_some() || factor.is_none_or(|factor| factor == 1.0) => {
                None
            }
            _ => fail!(
                Code::UnsupportedArchitecture,
                "{} scales the rotary positions ({kind}{}): Kinglet knows linear and llama3, each \
                 with a factor",
                self.rope.name(),
                factor.map_or(String::new(), |factor| format!(", factor {factor}"))
            ),
        };
        for part in [&self.rope, &self.settings] {
            let share = part.number("partial_rotary_factor")?.unwrap_or(1.0);
            ensure!(
                share == 1.0,
                Code::UnsupportedArchitecture,
                "{} turns only a part of each head (partial_rotary_factor {share}), which Kinglet \
                 does not",
                part.name()
            );
        }
        scaling.map(|scaling| scaling.check(self.rope.name())).transpose()
    }

    /// The scaling of Llama 3.1.
    fn llama3(&self, factor: f32) -> Result<Scaling> {
        let required = |key: &str| match self.rope.number(key)? {
            Some(number) => Ok(number as f32),
            None => fail!(
                Code::BadSource,
                "{} does not say {key}: take the {NAME} that belongs to the weights",
                self.rope.name()
            ),
        };
        // As transformers has it: beside the scaling, in it, or the context as it is.
        let key = "original_max_position_embeddings";
        let original_context = match (self.settings.number(key)?, self.rope.number(key)?) {
            (Some(context), _) | (None, Some(context)) => context as f32,
            (None, None) => self.max_context()? as f32,
        };
        let (low, high) = (required("low_freq_factor")?, required("high_freq_factor")?);
        Ok(Scaling::Llama3 { factor, low, high, original_context })
    }

    fn max_context(&self) -> Result<u32> {
        Ok(self.count("max_position_embeddings")?.unwrap_or(2048))
    }

    /// How fast each pair of a head turns in a model of this shape, where positions are scaled.
    pub fn frequencies(&self, config: &Config) -> Option<Vec<f32>> {
        let scaling = self.scaling?;
        let plain = frequencies::plain(config.rope_theta, config.head_dim).into_iter();
        Some(plain.map(|frequency| scaling.apply(frequency)).collect())
    }

    /// The `FEATURE_…` bits of the biases that the model has.
    fn biases(&self) -> Result<u32> {
        let feature = |key: &str, feature| Ok(if self.settings.flag(key)? { feature } else { 0 });
        Ok(feature("attention_bias", FEATURE_ATTENTION_BIAS)?
            | feature("mlp_bias", FEATURE_FFN_BIAS)?)
    }

    /// The configuration of the weight file; special tokens that are given by name are looked up,
    /// and those outside the vocabulary are left out.
    pub fn to_config(
        &self,
        generation: &Object,
        names: &TokenizerConfig,
        tokenizer: &TokenizerTables,
    ) -> Result<Config> {
        let heads = self.required("num_attention_heads")?;
        ensure!(heads > 0, Code::BadSource, "{NAME} says that there are no attention heads");
        let hidden = self.required("hidden_size")?;
        let vocab_size = self.required("vocab_size")?;
        let tokens = |object: &Object, key: &str| {
            let mut tokens = object.tokens(key)?;
            tokens.retain(|&token| token < vocab_size);
            Ok(tokens)
        };
        let named = |key: &str| tokenizer.token_id(names.special(key)?);
        let special = |id: &str, name: &str| -> Result<u32> {
            let first = tokens(&self.settings, id)?.first().copied();
            Ok(first.or_else(|| named(name)).unwrap_or(NO_TOKEN))
        };
        let theta = match self.rope.number("rope_theta")? {
            Some(theta) => theta,
            None => self.settings.number("rope_theta")?.unwrap_or(10_000.0),
        };
        let mut config = Config {
            vocab_size,
            hidden,
            layers: self.required("num_hidden_layers")?,
            heads,
            kv_heads: self.count("num_key_value_heads")?.unwrap_or(heads),
            head_dim: self.count("head_dim")?.unwrap_or(hidden / heads),
            ffn: self.required("intermediate_size")?,
            max_context: self.max_context()?,
            rope_theta: theta as f32,
            rms_eps: self.settings.number("rms_norm_eps")?.unwrap_or(1e-6) as f32,
            tied: self.is_tied()?.into(),
            features: self.biases()?,
            bos: special("bos_token_id", "bos_token")?,
            pad: special("pad_token_id", "pad_token")?,
            ..Config::zeroed()
        };
        for object in [&self.settings, generation] {
            set_eos(&mut config, tokens(object, "eos_token_id")?)?;
        }
        set_eos(&mut config, named("eos_token").filter(|&token| token < vocab_size))?;
        checked(config, NAME)
    }

    fn count(&self, key: &str) -> Result<Option<u32>> {
        self.settings.count(key)?.map(|count| to_u32(count, key)).transpose()
    }

    fn required(&self, key: &str) -> Result<u32> {
        match self.count(key)? {
            Some(count) => Ok(count),
            None => fail!(
                Code::BadSource,
                "{NAME} does not say {key}: take the {NAME} that belongs to the weights"
            ),
        }
    }
}

/// Fails for models that are no Llama, by the names that the file gives.
fn reject_other_models(settings: &Object) -> Result<()> {
    let classes = match settings.get("architectures") {
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(one)) => vec![one.as_str()],
        _ => Vec::new(),
    };
    let is_llama = |class: &&str| class.starts_with("Llama") || class.starts_with("LLaMA");
    let other = classes.iter().find(|class| OTHER_HEADS.iter().any(|head| class.contains(head)));
    let kind = match settings.text("model_type")? {
        Some(kind) => kind,
        None if classes.iter().any(is_llama) => "llama",
        None => "unknown",
    };
    let class = other.or(classes.first()).map_or(String::new(), |class| format!(" ({class})"));
    let within = match settings.object("text_config")? {
        Some(text) => match text.text("model_type")? {
            Some(kind) => format!(" around a text model of the type {kind}"),
            None => String::new(),
        },
        None => String::new(),
    };
    ensure!(
        kind == "llama" && other.is_none(),
        Code::UnsupportedArchitecture,
        "{NAME} describes a model of the type {kind}{class}{within}: only language models of the \
         type llama can be converted"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::TOKENIZER;

    fn read(settings: &Value) -> Result<Config> {
        let folder = tempfile::TempDir::new().unwrap();
        let names = TokenizerConfig::open(folder.path())?;
        let tokenizer = TokenizerTables::from_tokenizer_json(TOKENIZER)?;
        let model = ModelConfig::parse(&settings.to_string())?;
        model.to_config(&Object::default(), &names, &tokenizer)
    }

    #[test]
    fn every_spelling_is_read_as_transformers_does() {
        let cases: Value =
            serde_json::from_str(include_str!("../../goldens/configs.json")).unwrap();
        for (name, case) in cases.as_object().unwrap() {
            let found = read(&case["settings"]);
            if case["is_refused"] == true {
                let code = found.expect_err(name).code();
                assert_eq!(code, Code::UnsupportedArchitecture, "{name}");
                continue;
            }
            let found = found.unwrap_or_else(|error| panic!("{name}: {error}"));
            let whole = [found.heads, found.kv_heads, found.head_dim, found.max_context];
            let wanted = ["heads", "kv_heads", "head_dim", "max_context"].map(|key| &case[key]);
            assert_eq!(whole.map(Value::from), wanted.map(Value::clone), "{name}");
            assert_eq!(Some(f64::from(found.rope_theta)), case["rope_theta"].as_f64(), "{name}");
            let eps = case["rms_eps"].as_f64().unwrap() as f32;
            assert_eq!((found.rms_eps, found.tied == 1), (eps, case["tied"] == true), "{name}");
        }
    }
}
