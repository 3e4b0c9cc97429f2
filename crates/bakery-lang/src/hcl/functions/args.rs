//! The arguments of a call, with errors that name it.

use crate::hcl::eval::{number, text};
use crate::{Map, Value};

/// The arguments of a call.
pub(super) struct Args<'a> {
    pub(super) name: &'a str,
    pub(super) values: &'a [Value],
}

impl Args<'_> {
    pub(super) fn any(&self, i: usize) -> Result<Value, String> {
        self.values.get(i).cloned().ok_or_else(|| format!("`{}` needs more arguments", self.name))
    }

    fn must(&self, i: usize, what: &str) -> String {
        format!("argument {} of `{}` must be {what}", i + 1, self.name)
    }

    pub(super) fn string(&self, i: usize) -> Result<String, String> {
        text(&self.any(i)?).ok_or_else(|| self.must(i, "text"))
    }

    pub(super) fn num(&self, i: usize) -> Result<f64, String> {
        number(&self.any(i)?).ok_or_else(|| self.must(i, "a number"))
    }

    /// A number without fraction from 0 on.
    pub(super) fn count(&self, i: usize) -> Result<usize, String> {
        let n = self.num(i)?;
        if n < 0.0 || n.fract() != 0.0 { Err(self.must(i, "a whole number")) } else { Ok(n as usize) }
    }

    pub(super) fn items(&self, i: usize) -> Result<Vec<Value>, String> {
        self.any(i)?.as_items().ok_or_else(|| self.must(i, "a list"))
    }

    pub(super) fn map(&self, i: usize) -> Result<Map, String> {
        self.any(i)?.as_map().cloned().ok_or_else(|| self.must(i, "a map"))
    }
}
