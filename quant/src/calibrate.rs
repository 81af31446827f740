//! Calibration: what the inputs of matrices look like on a text, and weights that suit them.
//!
//! Reading order: [`moments`] (what is kept of a matrix's inputs), `metric` (what an error costs),
//! [`smooth`] (which channels to re-scale), `gptq` (rounding that keeps a matrix's outputs close).
//! [`crate::convert::convert_calibrated`] puts them together; the texts, and the model that runs
//! over them, come from whoever can run a model.

mod cholesky;
pub(crate) mod gptq;
pub(crate) mod metric;
pub mod moments;
pub mod smooth;
