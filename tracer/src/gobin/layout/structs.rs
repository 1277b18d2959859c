//! A Go struct as the program itself describes it, in whatever form.

use thiserror::Error;

/// What a description lacks, or says otherwise than every known version.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unfit {
    #[error("it does not describe `{what}`")]
    Missing { what: String },
    #[error("`{what}` is not as in any Go this was made for")]
    Form { what: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Struct {
    /// As in `runtime.g`.
    pub name: &'static str,
    /// In bytes.
    pub size: u64,
    pub fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub offset: u64,
    /// In bytes, where the description tells.
    pub size: Option<u64>,
    /// Of a struct's field that is a struct itself.
    pub fields: Vec<Self>,
}

impl Struct {
    /// Offset of a field, for instance `sched.sp`, that has `size` bytes. Case is ignored: Go has respelled a few.
    pub fn at(&self, path: &str, size: u64) -> Result<u32, Unfit> {
        let missing = || Unfit::Missing { what: format!("{}.{path}", self.name) };
        self.optional(path, size)?.ok_or_else(missing)
    }

    /// [`Self::at`] of a field that some versions do not have.
    pub fn optional(&self, path: &str, size: u64) -> Result<Option<u32>, Unfit> {
        let Some((offset, field)) = self.find(path) else { return Ok(None) };
        let form = || Unfit::Form { what: format!("{}.{path}", self.name) };
        if field.size != Some(size) {
            return Err(form());
        }
        // A field inside its struct, and the struct of a size that an offset of 32 bits can hold.
        let fits = offset.checked_add(size).is_some_and(|end| end <= self.size);
        u32::try_from(offset).ok().filter(|_| fits).map(Some).ok_or_else(form)
    }

    /// A field that is a word, or from Go 1.26 on a pair of words of which the second (`vu`) is always valid
    /// (runtime/runtime2.go, `maybeTraceablePtr`). Also says whether it is a pair.
    pub fn word(&self, name: &str) -> Result<(u32, bool), Unfit> {
        for path in [format!("{name}.vu"), format!("{name}.maybeTraceablePtr.vu")] {
            if let Some(at) = self.optional(&path, 8)? {
                return Ok((at, true));
            }
        }
        Ok((self.at(name, 8)?, false))
    }

    pub fn size(&self) -> Result<u32, Unfit> {
        u32::try_from(self.size).map_err(|_| Unfit::Form { what: self.name.to_owned() })
    }

    fn find(&self, path: &str) -> Option<(u64, &Field)> {
        let mut fields = &self.fields;
        let mut offset = 0u64;
        let mut found = None;
        for name in path.split('.') {
            let field = fields.iter().find(|f| f.name.eq_ignore_ascii_case(name))?;
            offset = offset.checked_add(field.offset)?;
            fields = &field.fields;
            found = Some(field);
        }
        Some((offset, found?))
    }
}
