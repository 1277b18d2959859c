//! The fields of a line: `name=value` pairs, taken one by one so that what is left over can be named.

use super::Reason;

/// A field; text values are quoted and hold what JSON strings hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A bare word without a value, as in `inlined`.
    Flag,
    Word(String),
    Text(String),
}

/// The fields of one line.
#[derive(Clone, Debug)]
pub struct Fields {
    event: &'static str,
    left: Vec<Field>,
}

impl Fields {
    /// Splits a line's rest; a `#` outside a text begins a comment.
    pub fn split(event: &'static str, mut rest: &str) -> Result<Self, Reason> {
        let mut left = Vec::new();
        loop {
            rest = rest.trim_start();
            if rest.is_empty() || rest.starts_with('#') {
                return Ok(Self { event, left });
            }
            let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
            let name = rest[..end].to_owned();
            rest = &rest[end..];
            let Some(value) = rest.strip_prefix('=') else {
                left.push(Field { name, value: Value::Flag });
                continue;
            };
            if value.starts_with('"') {
                let mut texts = serde_json::Deserializer::from_str(value).into_iter::<String>();
                let text = texts.next().and_then(Result::ok).ok_or_else(|| Reason::Quote(name.clone()))?;
                rest = &value[texts.byte_offset()..];
                left.push(Field { name, value: Value::Text(text) });
            } else {
                let end = value.find(char::is_whitespace).unwrap_or(value.len());
                left.push(Field { name, value: Value::Word(value[..end].to_owned()) });
                rest = &value[end..];
            }
        }
    }

    fn take(&mut self, name: &str) -> Option<Field> {
        let i = self.left.iter().position(|f| f.name == name)?;
        Some(self.left.remove(i))
    }

    /// A number, 0 when the field is not there.
    pub fn number<T: TryFrom<u64>>(&mut self, name: &str) -> Result<T, Reason> {
        let Some(field) = self.take(name) else {
            return T::try_from(0).map_err(|_| Reason::Value(name.to_owned(), "0".to_owned()));
        };
        let bad = || Reason::Value(name.to_owned(), shown(&field.value));
        let Value::Word(word) = &field.value else { return Err(bad()) };
        T::try_from(number(word).ok_or_else(bad)?).map_err(|_| bad())
    }

    /// A number that may have a minus before it.
    pub fn signed<T: TryFrom<i64>>(&mut self, name: &str) -> Result<T, Reason> {
        let Some(field) = self.take(name) else {
            return T::try_from(0).map_err(|_| Reason::Value(name.to_owned(), "0".to_owned()));
        };
        let bad = || Reason::Value(name.to_owned(), shown(&field.value));
        let Value::Word(word) = &field.value else { return Err(bad()) };
        if word.starts_with('+') {
            return Err(bad());
        }
        T::try_from(word.parse().map_err(|_| bad())?).map_err(|_| bad())
    }

    /// A number that may be given by name.
    pub fn named(&mut self, name: &str, by_name: impl Fn(&str) -> Option<u64>) -> Result<u64, Reason> {
        let known = self.left.iter().find(|f| f.name == name).and_then(|f| match &f.value {
            Value::Word(word) => by_name(word),
            _ => None,
        });
        match known {
            Some(n) => {
                self.take(name);
                Ok(n)
            }
            None => self.number(name),
        }
    }

    /// Numbers with commas between them; none when the field is not there.
    pub fn numbers(&mut self, name: &str) -> Result<Vec<u64>, Reason> {
        let Some(field) = self.take(name) else { return Ok(Vec::new()) };
        let bad = || Reason::Value(name.to_owned(), shown(&field.value));
        let Value::Word(word) = &field.value else { return Err(bad()) };
        word.split(',').map(|n| number(n).ok_or_else(bad)).collect()
    }

    /// A text, empty when the field is not there. A bare word will do where it has no space.
    pub fn text(&mut self, name: &str) -> Result<String, Reason> {
        match self.take(name).map(|f| f.value) {
            None => Ok(String::new()),
            Some(Value::Text(text) | Value::Word(text)) => Ok(text),
            Some(Value::Flag) => Err(Reason::Value(name.to_owned(), String::new())),
        }
    }

    /// A word without a value.
    pub fn flag(&mut self, name: &str) -> Result<bool, Reason> {
        match self.take(name).map(|f| f.value) {
            None => Ok(false),
            Some(Value::Flag) => Ok(true),
            Some(value) => Err(Reason::Value(name.to_owned(), shown(&value))),
        }
    }

    /// All that is left, in order, for events whose fields repeat.
    pub fn rest(&mut self) -> Vec<Field> {
        std::mem::take(&mut self.left)
    }

    pub fn unknown(&self, name: &str) -> Reason {
        Reason::UnknownField(name.to_owned(), self.event)
    }

    /// Nothing may be left over. `all`: the names as they stood on the line.
    pub fn done(self, all: &[String]) -> Result<(), Reason> {
        match self.left.first() {
            None => Ok(()),
            Some(f) if all.iter().filter(|n| **n == f.name).count() > 1 => Err(Reason::Twice(f.name.clone())),
            Some(f) => Err(Reason::UnknownField(f.name.clone(), self.event)),
        }
    }
}

/// What a value looked like, for a message.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Flag => String::new(),
        Value::Word(text) | Value::Text(text) => text.clone(),
    }
}

/// Decimal, or hexadecimal after `0x`.
pub fn number(word: &str) -> Option<u64> {
    match word.strip_prefix("0x") {
        Some(hex) if !hex.starts_with('+') => u64::from_str_radix(hex, 16).ok(),
        Some(_) => None,
        None if word.starts_with('+') => None,
        None => word.parse().ok(),
    }
}

/// `1.5s`, `20ms`, `7us`, `12ns`, exact to the nanosecond.
pub fn duration(word: &str) -> Option<u64> {
    let (digits, unit_ns) = [("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000_u64)]
        .into_iter()
        .find_map(|(unit, ns)| Some((word.strip_suffix(unit)?, ns)))?;
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || !whole.bytes().chain(part.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut ns = whole.parse::<u64>().ok()?.checked_mul(unit_ns)?;
    let mut unit = unit_ns;
    for digit in part.bytes() {
        unit /= 10;
        let digit = u64::from(digit - b'0');
        if unit == 0 && digit != 0 {
            return None;
        }
        ns = ns.checked_add(digit * unit)?;
    }
    Some(ns)
}
