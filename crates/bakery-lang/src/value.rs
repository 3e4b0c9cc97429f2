//! Values with Python's object semantics: lists and dicts are shared and mutable, text knows where it came from.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};

use indexmap::{Equivalent, IndexMap};

use crate::whole::{self, BigInt};
use crate::{Origin, Time};

/// A value of the playbook and template languages.
#[derive(Clone, Default)]
pub enum Value {
    /// Python's `None`, YAML's `null`.
    #[default]
    None,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i128),
    /// An integer that is too large for `Int`, never another: made by `from(BigInt)`.
    Big(Arc<BigInt>),
    /// A double.
    Float(f64),
    /// Text.
    Str(Text),
    /// A mutable list.
    List(List),
    /// An immutable sequence, as `dict.items()` yields.
    Tuple(Arc<Vec<Value>>),
    /// A mutable mapping in insertion order.
    Map(Map),
    /// A name or attribute that is not there; an error only once it is used.
    Undefined(Arc<Undefined>),
    /// A date, a time, or a span of time.
    Time(Arc<Time>),
    /// The marker that removes the argument holding it.
    Omit,
}

/// Why a value is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undefined {
    /// The sentence to show, such as `'x' is undefined`.
    pub message: String,
    /// The vault, encrypted, that could not be opened.
    pub vault: Option<String>,
}

/// Text, and whether it may be evaluated as a template.
///
/// Only text that a person wrote in a playbook, a variables file or on the command line carries an origin, and only
/// such text is ever evaluated: what a module, a fact or a lookup returns never is.
#[derive(Clone)]
pub struct Text {
    chars: Arc<str>,
    note: Option<Box<Note>>,
}

/// Where a text comes from.
#[derive(Clone)]
enum Note {
    /// A person wrote it here; the vault that it was in.
    Written { origin: Origin, vault: Option<Arc<str>> },
    /// A template gave it.
    Rendered,
}

impl Text {
    /// Text that is never evaluated as a template.
    pub fn plain(chars: impl Into<Arc<str>>) -> Self {
        Self { chars: chars.into(), note: None }
    }

    /// Text from a person's file, which may be a template.
    pub fn written(chars: impl Into<Arc<str>>, origin: Origin) -> Self {
        Self { chars: chars.into(), note: Some(Box::new(Note::Written { origin, vault: None })) }
    }

    /// Text out of a vault that a person wrote into a file.
    pub fn unlocked(chars: impl Into<Arc<str>>, origin: Origin, vault: &str) -> Self {
        let note = Note::Written { origin, vault: Some(vault.into()) };
        Self { chars: chars.into(), note: Some(Box::new(note)) }
    }

    /// Text that a template gave, which is never evaluated again. It may be one that looks like a list, and that
    /// Ansible made one of before ansible-core 2.19.
    #[must_use]
    pub fn rendered(self) -> Self {
        Self { chars: self.chars, note: Some(Box::new(Note::Rendered)) }
    }

    /// Whether it is said to be what a template gave.
    pub fn is_rendered(&self) -> bool {
        matches!(self.note.as_deref(), Some(Note::Rendered))
    }

    /// The characters.
    pub fn as_str(&self) -> &str {
        &self.chars
    }

    /// Where a person wrote it.
    pub fn origin(&self) -> Option<&Origin> {
        match self.note.as_deref()? {
            Note::Written { origin, .. } => Some(origin),
            Note::Rendered => None,
        }
    }

    /// The vault that it was in, encrypted.
    pub fn vault(&self) -> Option<&str> {
        match self.note.as_deref()? {
            Note::Written { vault, .. } => vault.as_deref(),
            Note::Rendered => None,
        }
    }

    /// Whether evaluating it as a template could change it.
    pub fn is_template(&self) -> bool {
        self.origin().is_some()
            && (self.chars.contains("{{") || self.chars.contains("{%") || self.chars.contains("{#"))
    }
}

/// A shared, mutable list.
#[derive(Clone, Default)]
pub struct List(Arc<Items>);

#[derive(Default)]
struct Items(RwLock<Vec<Value>>);

/// Lists in lists are let go one after the other, however deep: a template can make a chain that the stack cannot hold.
impl Drop for Items {
    fn drop(&mut self) {
        let items = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        let is_container = |value: &Value| matches!(value, Value::List(_) | Value::Map(_) | Value::Tuple(_));
        if items.iter().any(is_container) {
            let_go(std::mem::take(items));
        }
    }
}

impl Drop for Pairs {
    fn drop(&mut self) {
        let pairs = self.pairs.get_mut().unwrap_or_else(PoisonError::into_inner);
        let is_container = |value: &Value| matches!(value, Value::List(_) | Value::Map(_) | Value::Tuple(_));
        if pairs.values().any(is_container) {
            let_go(std::mem::take(pairs).into_iter().map(|(_, value)| value).collect());
        }
    }
}

fn let_go(mut held: Vec<Value>) {
    while let Some(value) = held.pop() {
        match value {
            Value::List(List(items)) => {
                if let Some(mut items) = Arc::into_inner(items) {
                    held.append(items.0.get_mut().unwrap_or_else(PoisonError::into_inner));
                }
            }
            Value::Map(Map(pairs)) => {
                if let Some(mut pairs) = Arc::into_inner(pairs) {
                    let pairs = std::mem::take(pairs.pairs.get_mut().unwrap_or_else(PoisonError::into_inner));
                    held.extend(pairs.into_iter().map(|(_, value)| value));
                }
            }
            Value::Tuple(items) => held.extend(Arc::into_inner(items).unwrap_or_default()),
            _ => {}
        }
    }
}

/// What [`Value::scan`] finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// No text in it may be a template.
    Plain,
    /// Some text in it may be one.
    Template,
    /// It nests too deep, or holds itself, or is larger than memory should be when it is written out.
    TooLarge,
}

/// How deep values may nest.
const MAX_DEPTH: usize = 400;

/// How many letters and items all of a value may have.
const MAX_SIZE: usize = 512 << 20;

impl List {
    /// A copy of the items as they are now.
    pub fn items(&self) -> Vec<Value> {
        self.0.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.0.0.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The item at an index.
    pub fn get(&self, index: usize) -> Option<Value> {
        self.0.0.read().unwrap_or_else(PoisonError::into_inner).get(index).cloned()
    }

    /// Runs `change` on the items.
    pub fn update<R>(&self, change: impl FnOnce(&mut Vec<Value>) -> R) -> R {
        change(&mut self.0.0.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether both are the same object.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Where the values of a lazy mapping come from; each is made when it is asked for.
pub trait Lazy: Send + Sync {
    /// The value of a key, already evaluated.
    fn get(&self, key: &str) -> Option<Value>;
    /// Every key.
    fn keys(&self) -> Vec<String>;
    /// Whether a key is there.
    fn contains(&self, key: &str) -> bool {
        self.keys().iter().any(|k| k == key)
    }
}

#[derive(Default)]
struct Pairs {
    pairs: RwLock<IndexMap<Value, Value>>,
    source: Option<Box<dyn Lazy>>,
}

/// A shared, mutable mapping in insertion order; keys are scalars or tuples.
#[derive(Clone, Default)]
pub struct Map(Arc<Pairs>);

impl Map {
    /// An empty mapping.
    pub fn new() -> Self {
        Self::default()
    }

    /// A mapping whose values are made when they are asked for. It cannot be changed; [`Value::forced`] makes a plain
    /// mapping of it.
    pub fn lazy(source: impl Lazy + 'static) -> Self {
        Self(Arc::new(Pairs { pairs: RwLock::default(), source: Some(Box::new(source)) }))
    }

    /// Whether its values are made when they are asked for.
    pub fn is_lazy(&self) -> bool {
        self.0.source.is_some()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, IndexMap<Value, Value>> {
        self.0.pairs.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of the pairs as they are now.
    pub fn pairs(&self) -> Vec<(Value, Value)> {
        match &self.0.source {
            Some(source) => source
                .keys()
                .into_iter()
                .filter_map(|key| source.get(&key).map(|value| (Value::from(key), value)))
                .collect(),
            None => self.read().iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        }
    }

    /// A copy of the keys.
    pub fn keys(&self) -> Vec<Value> {
        match &self.0.source {
            Some(source) => source.keys().into_iter().map(Value::from).collect(),
            None => self.read().keys().cloned().collect(),
        }
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.0.source.as_ref().map_or_else(|| self.read().len(), |source| source.keys().len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a text key.
    pub fn get(&self, key: &str) -> Option<Value> {
        match &self.0.source {
            Some(source) => source.get(key),
            None => self.read().get(key).cloned(),
        }
    }

    /// The value of any key.
    pub fn get_value(&self, key: &Value) -> Option<Value> {
        match &self.0.source {
            Some(source) => key.as_str().and_then(|key| source.get(key)),
            None => self.read().get(key).cloned(),
        }
    }

    /// Whether a text key is there.
    pub fn contains(&self, key: &str) -> bool {
        self.0.source.as_ref().map_or_else(|| self.read().contains_key(key), |source| source.contains(key))
    }

    /// Whether a key is there.
    pub fn contains_value(&self, key: &Value) -> bool {
        match key.as_str() {
            Some(text) => self.contains(text),
            None => self.read().contains_key(key),
        }
    }

    /// Sets a text key.
    pub fn set(&self, key: &str, value: impl Into<Value>) {
        self.insert(Value::from(key), value.into());
    }

    /// Sets any key.
    pub fn insert(&self, key: Value, value: Value) {
        self.update(|map| map.insert(key, value));
    }

    /// Removes a text key, keeping the order of the others.
    pub fn remove(&self, key: &str) -> Option<Value> {
        self.update(|map| map.shift_remove(key))
    }

    /// Sets every pair of `other`.
    pub fn extend(&self, other: &Self) {
        if !Arc::ptr_eq(&self.0, &other.0) {
            let pairs = other.pairs();
            self.update(|map| map.extend(pairs));
        }
    }

    /// Takes the pairs of `other` instead of its own.
    pub fn replace(&self, other: &Self) {
        let pairs = other.pairs();
        self.update(|map| *map = pairs.into_iter().collect());
    }

    /// A new mapping with the same pairs.
    pub fn copied(&self) -> Self {
        self.pairs().into_iter().collect()
    }

    /// Runs `change` on the pairs.
    pub fn update<R>(&self, change: impl FnOnce(&mut IndexMap<Value, Value>) -> R) -> R {
        change(&mut self.0.pairs.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether both are the same object.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::repr::repr(&Value::Map(self.clone())))
    }
}

impl FromIterator<(Value, Value)> for Map {
    fn from_iter<I: IntoIterator<Item = (Value, Value)>>(pairs: I) -> Self {
        Self(Arc::new(Pairs { pairs: RwLock::new(pairs.into_iter().collect()), source: None }))
    }
}

impl<K: AsRef<str>> FromIterator<(K, Value)> for Map {
    fn from_iter<I: IntoIterator<Item = (K, Value)>>(pairs: I) -> Self {
        pairs.into_iter().map(|(k, v)| (Value::from(k.as_ref()), v)).collect()
    }
}

impl Value {
    /// A list.
    pub fn list(items: Vec<Value>) -> Self {
        Self::List(List(Arc::new(Items(RwLock::new(items)))))
    }

    /// A tuple.
    pub fn tuple(items: Vec<Value>) -> Self {
        Self::Tuple(Arc::new(items))
    }

    /// A mapping with text keys.
    pub fn map<K: AsRef<str>>(pairs: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self::Map(pairs.into_iter().collect())
    }

    /// A list of texts.
    pub fn strings<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> Self {
        Self::list(items.into_iter().map(|s| Value::from(s.as_ref())).collect())
    }

    /// Something that is not there, with the sentence to show once it is used.
    pub fn undefined(message: impl Into<String>) -> Self {
        Self::Undefined(Arc::new(Undefined { message: message.into(), vault: None }))
    }

    /// What is in a vault that could not be opened.
    pub fn locked(message: impl Into<String>, vault: &str) -> Self {
        Self::Undefined(Arc::new(Undefined { message: message.into(), vault: Some(vault.to_owned()) }))
    }

    /// The vault, encrypted, that a person wrote this as, whether it could be opened or not.
    pub fn vault(&self) -> Option<&str> {
        match self {
            Self::Str(text) => text.vault(),
            Self::Undefined(missing) => missing.vault.as_deref(),
            _ => None,
        }
    }

    /// The text, if it is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text.as_str()),
            _ => None,
        }
    }

    /// The mapping, if it is one.
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The items of a list or tuple.
    pub fn as_items(&self) -> Option<Vec<Value>> {
        match self {
            Self::List(list) => Some(list.items()),
            Self::Tuple(items) => Some(items.to_vec()),
            _ => None,
        }
    }

    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(b) => Some(*b),
            _ => None,
        }
    }

    /// Whether it is an integer of any size, and no boolean.
    pub fn is_int(&self) -> bool {
        matches!(self, Self::Int(_) | Self::Big(_))
    }

    /// The integer of any size, if it is one (or a boolean, as in Python).
    pub fn as_whole(&self) -> Option<BigInt> {
        match self {
            Self::Big(number) => Some(BigInt::clone(number)),
            _ => self.as_int().map(BigInt::from),
        }
    }

    /// The integer, if it is one of 127 bits (or a boolean, as in Python).
    pub fn as_int(&self) -> Option<i128> {
        match self {
            Self::Int(i) => Some(*i),
            Self::Bool(b) => Some(i128::from(*b)),
            _ => None,
        }
    }

    /// Any number as a double; infinity for integers that are larger than all of them.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Big(number) => Some(whole::to_float(number)),
            Self::Float(f) => Some(*f),
            _ => self.as_int().map(|i| i as f64),
        }
    }

    /// How two numbers stand to each other, exactly: `None` where one is no number, `Some(None)` where one is NaN.
    pub fn order_of_numbers(&self, other: &Self) -> Option<Option<Ordering>> {
        Some(match (self, other) {
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(b),
            (Self::Float(float), whole) => whole::order(whole, *float)?.map(Ordering::reverse),
            (whole, Self::Float(float)) => whole::order(whole, *float)?,
            _ => match (self.as_int(), other.as_int()) {
                (Some(a), Some(b)) => Some(a.cmp(&b)),
                _ => Some(self.as_whole()?.cmp(&other.as_whole()?)),
            },
        })
    }

    /// The value of a key, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<Value> {
        self.as_map().and_then(|map| map.get(key))
    }

    /// Whether it is not there.
    pub fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined(_))
    }

    /// Whether it is `None`.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Python's `bool(value)`.
    pub fn is_true(&self) -> bool {
        match self {
            Self::None | Self::Undefined(_) | Self::Omit => false,
            Self::Bool(b) => *b,
            Self::Int(i) => *i != 0,
            Self::Big(_) => true,
            Self::Float(f) => *f != 0.0,
            Self::Str(s) => !s.as_str().is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::Tuple(items) => !items.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Time(time) => time.is_true(),
        }
    }

    /// Python's name of the type, as errors show it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::Big(_) => "int",
            Self::Float(_) => "float",
            Self::Str(_) => "str",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Map(_) => "dict",
            Self::Time(time) => time.type_name(),
            Self::Undefined(_) => "AnsibleUndefined",
            Self::Omit => "Omit",
        }
    }

    /// The origin of text that a person wrote.
    pub fn origin(&self) -> Option<&Origin> {
        match self {
            Self::Str(text) => text.origin(),
            _ => None,
        }
    }

    /// Whether any text in it, at any depth, may be a template.
    pub fn has_template(&self) -> bool {
        match self {
            Self::Str(text) => text.is_template(),
            Self::List(list) => list.items().iter().any(Self::has_template),
            Self::Tuple(items) => items.iter().any(Self::has_template),
            Self::Map(map) if map.is_lazy() => false,
            Self::Map(map) => map.read().iter().any(|(k, v)| k.has_template() || v.has_template()),
            _ => false,
        }
    }

    /// Whether any text in it may be a template, of a value that may have been made to take the machine's memory or stack.
    pub fn scan(&self) -> Scan {
        let mut left = MAX_SIZE;
        self.scan_within(MAX_DEPTH, &mut left)
    }

    fn scan_within(&self, depth: usize, left: &mut usize) -> Scan {
        let size = self.as_str().map_or(2, str::len);
        if depth == 0 || *left < size {
            return Scan::TooLarge;
        }
        *left -= size;
        let mut found = Scan::Plain;
        let mut all = |items: &mut dyn Iterator<Item = &Value>, left: &mut usize| {
            for item in items {
                match item.scan_within(depth - 1, left) {
                    Scan::TooLarge => return Scan::TooLarge,
                    Scan::Template => found = Scan::Template,
                    Scan::Plain => {}
                }
            }
            found
        };
        match self {
            Self::Str(text) if text.is_template() => Scan::Template,
            Self::List(list) => {
                all(&mut list.0.0.read().unwrap_or_else(PoisonError::into_inner).iter(), left)
            }
            Self::Tuple(items) => all(&mut items.iter(), left),
            Self::Map(map) if map.is_lazy() => Scan::Plain,
            Self::Map(map) => all(&mut map.read().iter().flat_map(|(k, v)| [k, v]), left),
            _ => Scan::Plain,
        }
    }

    /// Whether a mapping in it, at any depth, makes its values when they are asked for.
    fn has_lazy(&self) -> bool {
        match self {
            Self::List(list) => list.items().iter().any(Self::has_lazy),
            Self::Tuple(items) => items.iter().any(Self::has_lazy),
            Self::Map(map) => map.is_lazy() || map.read().values().any(Self::has_lazy),
            _ => false,
        }
    }

    /// The first thing in a container, at any depth, that is not there.
    pub fn first_undefined(&self) -> Option<Self> {
        match self {
            Self::Undefined(_) => Some(self.clone()),
            Self::List(list) => list.items().iter().find_map(Self::first_undefined),
            Self::Tuple(items) => items.iter().find_map(Self::first_undefined),
            Self::Map(map) if !map.is_lazy() => map.read().values().find_map(Self::first_undefined),
            _ => None,
        }
    }

    /// The value with every lazy mapping in it made plain.
    pub fn forced(&self) -> Self {
        if !self.has_lazy() {
            return self.clone();
        }
        match self {
            Self::List(list) => Self::list(list.items().iter().map(Self::forced).collect()),
            Self::Tuple(items) => Self::tuple(items.iter().map(Self::forced).collect()),
            Self::Map(map) => Self::Map(map.pairs().into_iter().map(|(k, v)| (k, v.forced())).collect()),
            other => other.clone(),
        }
    }

    /// A copy down to the leaves whose text is never evaluated as a template.
    pub fn untrusted(&self) -> Self {
        match self {
            Self::Str(text) if text.origin().is_some() => Self::from(text.as_str()),
            Self::List(list) => Self::list(list.items().iter().map(Self::untrusted).collect()),
            Self::Tuple(items) => Self::tuple(items.iter().map(Self::untrusted).collect()),
            Self::Map(map) => {
                Self::Map(map.pairs().iter().map(|(k, v)| (k.untrusted(), v.untrusted())).collect())
            }
            other => other.clone(),
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None)
            | (Self::Omit, Self::Omit)
            | (Self::Undefined(_), Self::Undefined(_)) => true,
            (Self::Str(a), Self::Str(b)) => a.as_str() == b.as_str(),
            (Self::List(a), Self::List(b)) => a.is(b) || a.items() == b.items(),
            (Self::Tuple(a), Self::Tuple(b)) => a == b,
            (Self::Time(a), Self::Time(b)) => a.order(b) == Some(Ordering::Equal),
            (Self::Map(a), Self::Map(b)) => {
                a.is(b)
                    || (a.len() == b.len()
                        && a.pairs().iter().all(|(k, v)| b.get_value(k).is_some_and(|other| other == *v)))
            }
            _ => self.order_of_numbers(other) == Some(Some(Ordering::Equal)),
        }
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Str(text) => text.as_str().hash(state),
            Self::Bool(_) | Self::Int(_) | Self::Big(_) | Self::Float(_) => {
                self.as_float().unwrap_or_default().to_bits().hash(state);
            }
            Self::Tuple(items) => items.hash(state),
            Self::Time(time) => time.hash(state),
            _ => self.type_name().hash(state),
        }
    }
}

impl Equivalent<Value> for str {
    fn equivalent(&self, key: &Value) -> bool {
        key.as_str() == Some(self)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", crate::repr::repr(self))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::repr::str(self))
    }
}

impl From<&str> for Value {
    fn from(s: &str) -> Self {
        Self::Str(Text::plain(s))
    }
}
impl From<&String> for Value {
    fn from(s: &String) -> Self {
        Self::Str(Text::plain(s.as_str()))
    }
}
impl From<String> for Value {
    fn from(s: String) -> Self {
        Self::Str(Text::plain(s))
    }
}
impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Self::Bool(b)
    }
}
impl From<f64> for Value {
    fn from(f: f64) -> Self {
        Self::Float(f)
    }
}
impl From<Time> for Value {
    fn from(time: Time) -> Self {
        Self::Time(Arc::new(time))
    }
}
impl From<Map> for Value {
    fn from(map: Map) -> Self {
        Self::Map(map)
    }
}
impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::list(items)
    }
}
impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}
macro_rules! from_int {
    ($($int:ty),*) => { $(impl From<$int> for Value {
        fn from(i: $int) -> Self { Self::Int(i128::from(i)) }
    })* };
}
from_int!(i32, i64, u16, u32, u64, i128);
impl From<BigInt> for Value {
    fn from(number: BigInt) -> Self {
        match i128::try_from(number) {
            Ok(small) => Self::Int(small),
            Err(large) => Self::Big(Arc::new(large.into_original())),
        }
    }
}
impl From<usize> for Value {
    fn from(i: usize) -> Self {
        Self::Int(i as i128)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_shared_and_numbers_compare_as_in_python() {
        let list = Value::list(vec![]);
        let same = list.clone();
        if let Value::List(list) = &list {
            list.update(|items| items.push(Value::from(1)));
        }
        assert_eq!(same.as_items().map(|items| items.len()), Some(1));
        assert_eq!(Value::Bool(true), Value::Int(1));
        assert_eq!(Value::Float(2.0), Value::Int(2));
        assert_ne!(Value::from("1"), Value::Int(1));
    }
}
