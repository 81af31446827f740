//! From the stored tensors of an adapter to the updates of a model's tensors.

use super::disk::DiskFile;
use super::lora::LowRank;
use super::stored::Stored;
use super::update::Update;
use crate::tensor::{self, NO_LAYER};
use crate::{Code, Config, Result, Role, ensure, fail};
use std::collections::{BTreeMap, HashMap};

/// The parts that a file has for one tensor, each with its name there.
#[derive(Default)]
struct Parts {
    a: Option<(String, Stored)>,
    b: Option<(String, Stored)>,
    base: Option<(String, Stored)>,
    whole: Option<(String, Stored)>,
}

/// What a stored tensor is to its module.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Part {
    /// The first factor.
    A,
    /// The second factor.
    B,
    /// The weights that the adapter was trained on.
    Base,
    /// The trained tensor as a whole.
    Whole,
}

/// Collects the stored tensors of an adapter, and checks that each pair fits the model.
pub(super) struct Collector<'a> {
    config: &'a Config,
    file: &'a DiskFile,
    /// By the module's name in the file.
    modules: HashMap<String, (Role, u16)>,
    /// What the adapter was trained on, as far as it says.
    trained_on: String,
    /// In the order of the alphabet, for errors that are the same each time.
    parts: BTreeMap<String, Parts>,
}

impl<'a> Collector<'a> {
    /// For modules that `module_name` names.
    pub fn new(
        config: &'a Config,
        file: &'a DiskFile,
        trained_on: Option<&str>,
        module_name: impl Fn(Role, u16) -> String,
    ) -> Self {
        // The head has its name also where the model has none of its own.
        let tensors = tensor::order(config).chain([(Role::Head, NO_LAYER)]);
        let tensors = tensors.filter(|(role, _)| role.is_norm() || !role.is_vector());
        let modules = tensors.map(|(role, layer)| (module_name(role, layer), (role, layer)));
        let trained_on = trained_on.map_or(String::new(), |name| format!(" ({name})"));
        Self { config, file, modules: modules.collect(), trained_on, parts: BTreeMap::new() }
    }

    /// The tensor that a module holds.
    pub fn find(&self, module: &str) -> Result<(Role, u16)> {
        match self.modules.get(module) {
            Some(&found) => Ok(found),
            None => fail!(
                Code::MissingTensor,
                "{} changes {module}, which this model does not have: take the model that the \
                 adapter was trained on{}",
                self.file.name(),
                self.trained_on
            ),
        }
    }

    /// Adds what the file has under `name` as a part of a module.
    pub fn add(&mut self, module: &str, part: Part, name: &str, stored: Stored) -> Result<()> {
        let (role, _) = self.find(module)?;
        ensure!(
            !role.is_vector() || part == Part::Whole,
            Code::WrongShape,
            "{} has an update of low rank for {module}, which is no matrix: save the adapter again",
            self.file.name()
        );
        stored.check(self.file, name)?;
        let parts = self.parts.entry(module.to_owned()).or_default();
        let place = match part {
            Part::A => &mut parts.a,
            Part::B => &mut parts.b,
            Part::Base => &mut parts.base,
            Part::Whole => &mut parts.whole,
        };
        match place.replace((name.to_owned(), stored)) {
            None => Ok(()),
            Some((twin, _)) => fail!(
                Code::BadSource,
                "{} has both {twin} and {name}: save one adapter alone",
                self.file.name()
            ),
        }
    }

    /// The updates of all tensors. `low_rank` makes one of a module's name, its tensor, and its
    /// factors of `[rank, cols]` and `[rows, rank]`.
    pub fn finish(
        self,
        low_rank: impl Fn(&str, Role, Stored, Stored) -> Result<LowRank>,
    ) -> Result<HashMap<(Role, u16), Update>> {
        let mut updates = HashMap::new();
        for (module, parts) in &self.parts {
            let (role, layer) = self.find(module)?;
            let (rows, cols) = role.shape(self.config);
            for (name, whole) in [&parts.base, &parts.whole].into_iter().flatten() {
                self.check_shape(name, whole, (rows, cols))?;
            }
            let stored = |part: &Option<(String, Stored)>| part.as_ref().map(|part| part.1.clone());
            let low_rank = match (&parts.a, &parts.b) {
                (None, None) => None,
                (Some((a_name, a)), Some((b_name, b))) => {
                    let (rank, _) = a.shape();
                    self.check_shape(a_name, a, (rank, cols))?;
                    self.check_shape(b_name, b, (rows, rank))?;
                    Some(low_rank(module, role, a.clone(), b.clone())?)
                }
                (Some((name, _)), None) | (None, Some((name, _))) => fail!(
                    Code::MissingTensor,
                    "{} has {name} without its other factor: save or fetch the adapter again",
                    self.file.name()
                ),
            };
            let update =
                Update { base: stored(&parts.base), whole: stored(&parts.whole), low_rank };
            updates.insert((role, layer), update);
        }
        Ok(updates)
    }

    fn check_shape(&self, name: &str, stored: &Stored, wanted: (usize, usize)) -> Result<()> {
        let found = stored.shape();
        ensure!(
            found == wanted,
            Code::WrongShape,
            "tensor {name} in {} is {} × {}, the model needs {} × {}: take the model that the \
             adapter was trained on{}",
            self.file.name(),
            found.0,
            found.1,
            wanted.0,
            wanted.1,
            self.trained_on
        );
        Ok(())
    }
}

/// The factor of an update: as a number of f32, which the product is multiplied by.
pub(super) fn factor(file: &str, module: &str, factor: f64) -> Result<f32> {
    let rounded = factor as f32;
    ensure!(
        rounded.is_finite() && rounded != 0.0,
        Code::BadSource,
        "{file} multiplies the update of {module} by {factor}, which leaves nothing of it: correct \
         its alpha or the scale"
    );
    Ok(rounded)
}
