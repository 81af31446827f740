//! Names of tensors in safetensors files: what tools put around them, and what they give away.

use crate::{Code, Result, ensure};

/// Parts of names that tools add where they wrap a model without changing it: `torch.compile`,
/// FSDP, checkpointing of activations, data-parallel training, DeepSpeed, reinforcement learning,
/// and PEFT before a merge.
const WRAPPERS: [&str; 7] = [
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "module",
    "_forward_module",
    "pretrained_model",
    "base_layer",
];
/// What PEFT puts in front of a model's names.
const PEFT: &str = "base_model.model.";
/// What a language model puts in front of the names of all but its head.
const MODEL: &str = "model.";
/// How the names begin that stand behind [`MODEL`].
const INNER: [&str; 3] = ["embed_tokens.", "layers.", "norm."];

/// Ends of names that only quantized weights have, and by what.
const PACKED: [(&str, &str); 11] = [
    (".absmax", "by bitsandbytes in 4 bits"),
    (".quant_map", "by bitsandbytes in 4 bits"),
    (".quant_state.bitsandbytes__nf4", "by bitsandbytes in 4 bits"),
    (".quant_state.bitsandbytes__fp4", "by bitsandbytes in 4 bits"),
    (".SCB", "by bitsandbytes in 8 bits"),
    (".qweight", "by GPTQ or AWQ"),
    (".qzeros", "by GPTQ or AWQ"),
    (".weight_packed", "by compressed-tensors"),
    (".weight_scale", "in 8 bits"),
    (".weight_scale_inv", "in 8 bits"),
    (".weight.scales", "by MLX"),
];

/// Parts of names that only adapters which are not merged have.
const UNMERGED: [&str; 5] =
    [".lora_A.", ".lora_B.", ".lora_embedding_A", ".modules_to_save.", ".original_module."];

/// The name that the model itself gives a tensor.
pub(super) fn plain(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').filter(|part| !WRAPPERS.contains(part)).collect();
    let name = parts.join(".");
    let mut name = name.as_str();
    while let Some(inner) = name.strip_prefix(PEFT) {
        name = inner;
    }
    while let Some(inner) = name.strip_prefix(MODEL)
        && (inner.starts_with(MODEL) || inner.starts_with("lm_head."))
    {
        name = inner;
    }
    match INNER.iter().any(|inner| name.starts_with(inner)) {
        true => format!("{MODEL}{name}"),
        false => name.to_owned(),
    }
}

/// Fails for a tensor whose name says that the model is quantized, or that an adapter is not merged
/// into it.
pub(super) fn reject_packed(name: &str) -> Result<()> {
    if let Some((_, how)) = PACKED.iter().find(|(end, _)| name.ends_with(end)) {
        return Err(crate::Error::new(
            Code::UnsupportedTensorType,
            format_args!(
                "the weights are quantized already, {how} ({name}): use the original in F32, F16 \
                 or BF16, or call dequantize() in transformers and save the model"
            ),
        ));
    }
    ensure!(
        !UNMERGED.iter().any(|part| name.contains(part)),
        Code::UnsupportedArchitecture,
        "the weights hold an adapter that is not merged ({name}): call merge_and_unload() in peft \
         and save the model, or convert its base with `--lora`"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tools_add_to_names_is_taken_away() {
        for (stored, wanted) in [
            ("model.norm.weight", "model.norm.weight"),
            ("lm_head.weight", "lm_head.weight"),
            ("norm.weight", "model.norm.weight"),
            ("_orig_mod.model.norm.weight", "model.norm.weight"),
            ("module._orig_mod.lm_head.weight", "lm_head.weight"),
            ("base_model.model.lm_head.weight", "lm_head.weight"),
            ("base_model.model.layers.1.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight"),
            ("model.model.embed_tokens.weight", "model.embed_tokens.weight"),
            ("model.lm_head.weight", "lm_head.weight"),
            (
                "base_model.model.model.layers.0.self_attn.q_proj.base_layer.weight",
                "model.layers.0.self_attn.q_proj.weight",
            ),
            ("language_model.model.norm.weight", "language_model.model.norm.weight"),
        ] {
            assert_eq!(plain(stored), wanted, "{stored}");
        }
    }

    #[test]
    fn quantized_and_unmerged_weights_are_told_by_their_names() {
        let code = |name| reject_packed(name).err().map(|error| error.code());
        let packed = Some(Code::UnsupportedTensorType);
        assert_eq!(code("model.layers.0.mlp.up_proj.weight.absmax"), packed);
        assert_eq!(code("model.layers.0.mlp.up_proj.SCB"), packed);
        assert_eq!(code("model.layers.0.mlp.up_proj.qweight"), packed);
        let unmerged = Some(Code::UnsupportedArchitecture);
        assert_eq!(code("model.layers.0.mlp.up_proj.lora_A.default.weight"), unmerged);
        assert_eq!(code("model.layers.0.mlp.up_proj.weight"), None);
        assert_eq!(code("model.layers.0.self_attn.rotary_emb.inv_freq"), None);
    }
}
