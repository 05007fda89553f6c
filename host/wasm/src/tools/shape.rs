//! What a value of the component model looks like: WIT's types without an engine, so that all decisions about them are
//! functions of values.

use serde::{Deserialize, Serialize};
use wasmtime::component::types::{ComponentFunc, Type};

/// The most types that one function may be made of, every use counted. A type that uses another twice has it twice, so
/// a component of a few hundred bytes could describe more than memory holds.
const MAX_TYPES: usize = 2_000;

/// The type of a parameter or a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Shape {
    Bool,
    Int(Int),
    F32,
    F64,
    Char,
    String,
    /// `list<u8>`.
    Bytes,
    List(Box<Shape>),
    FixedList(Box<Shape>, u32),
    /// `map<key, value>`.
    Map(Box<Shape>, Box<Shape>),
    Record(Vec<Field>),
    Tuple(Vec<Shape>),
    Variant(Vec<Case>),
    Enum(Vec<String>),
    Option(Box<Shape>),
    Result(Option<Box<Shape>>, Option<Box<Shape>>),
    Flags(Vec<String>),
}

/// A kind of whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Int {
    S8,
    U8,
    S16,
    U16,
    S32,
    U32,
    S64,
    U64,
}

impl Int {
    /// Its name in WIT.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::S8 => "s8",
            Self::U8 => "u8",
            Self::S16 => "s16",
            Self::U16 => "u16",
            Self::S32 => "s32",
            Self::U32 => "u32",
            Self::S64 => "s64",
            Self::U64 => "u64",
        }
    }
}

/// A field of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) shape: Shape,
}

/// A case of a variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) payload: Option<Shape>,
}

impl Shape {
    /// Whether a value may be `null` in JSON; then an `option` of it cannot use `null` for nothing.
    pub(crate) fn may_be_null(&self) -> bool {
        matches!(self, Self::Option(_))
    }
}

/// Why a function is no tool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoTool {
    #[error("it takes or returns {0}, which cannot be said in JSON")]
    Unsayable(&'static str),
    #[error("it belongs to a resource")]
    OfResource,
    #[error("its name is not made of letters, digits and `-` alone")]
    Name,
    #[error("it cannot be reached by its name")]
    Unreachable,
    #[error("it is async")]
    Async,
    #[error("its types are made of more than {MAX_TYPES} others")]
    TooLarge,
}

/// The parameters and the result of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FunctionShape {
    pub(crate) params: Vec<Field>,
    pub(crate) result: Option<Shape>,
}

impl FunctionShape {
    /// Reads a function's type.
    pub(crate) fn of(function: &ComponentFunc) -> Result<Self, NoTool> {
        if function.async_() {
            return Err(NoTool::Async);
        }
        let mut reader = Reader { left: MAX_TYPES };
        let params = function
            .params()
            .map(|(name, ty)| Ok(Field { name: name.to_owned(), shape: reader.shape(&ty)? }))
            .collect::<Result<_, NoTool>>()?;
        let result = function.results().next().map(|ty| reader.shape(&ty)).transpose()?;
        Ok(Self { params, result })
    }
}

struct Reader {
    left: usize,
}

impl Reader {
    fn boxed(&mut self, ty: &Type) -> Result<Box<Shape>, NoTool> {
        self.shape(ty).map(Box::new)
    }

    fn maybe(&mut self, ty: Option<Type>) -> Result<Option<Box<Shape>>, NoTool> {
        ty.map(|ty| self.boxed(&ty)).transpose()
    }

    /// Types nest no deeper than the validator of components allows (100).
    fn shape(&mut self, ty: &Type) -> Result<Shape, NoTool> {
        self.left = self.left.checked_sub(1).ok_or(NoTool::TooLarge)?;
        Ok(match ty {
            Type::Bool => Shape::Bool,
            Type::S8 => Shape::Int(Int::S8),
            Type::U8 => Shape::Int(Int::U8),
            Type::S16 => Shape::Int(Int::S16),
            Type::U16 => Shape::Int(Int::U16),
            Type::S32 => Shape::Int(Int::S32),
            Type::U32 => Shape::Int(Int::U32),
            Type::S64 => Shape::Int(Int::S64),
            Type::U64 => Shape::Int(Int::U64),
            Type::Float32 => Shape::F32,
            Type::Float64 => Shape::F64,
            Type::Char => Shape::Char,
            Type::String => Shape::String,
            Type::List(list) if list.ty() == Type::U8 => Shape::Bytes,
            Type::List(list) => Shape::List(self.boxed(&list.ty())?),
            Type::FixedLengthList(list) => Shape::FixedList(self.boxed(&list.ty())?, list.len()),
            Type::Map(map) => Shape::Map(self.boxed(&map.key())?, self.boxed(&map.value())?),
            Type::Tuple(tuple) => Shape::Tuple(tuple.types().map(|ty| self.shape(&ty)).collect::<Result<_, _>>()?),
            Type::Option(option) => Shape::Option(self.boxed(&option.ty())?),
            Type::Result(result) => Shape::Result(self.maybe(result.ok())?, self.maybe(result.err())?),
            Type::Record(_) | Type::Variant(_) | Type::Enum(_) | Type::Flags(_) => self.named(ty)?,
            Type::Own(_) | Type::Borrow(_) => return Err(NoTool::Unsayable("a resource")),
            Type::Future(_) => return Err(NoTool::Unsayable("a future")),
            Type::Stream(_) => return Err(NoTool::Unsayable("a stream")),
            Type::ErrorContext => return Err(NoTool::Unsayable("an error context")),
        })
    }

    /// Types whose parts have names; each part counts.
    fn named(&mut self, ty: &Type) -> Result<Shape, NoTool> {
        Ok(match ty {
            Type::Record(record) => Shape::Record(
                record
                    .fields()
                    .map(|field| Ok(Field { name: field.name.to_owned(), shape: self.shape(&field.ty)? }))
                    .collect::<Result<_, NoTool>>()?,
            ),
            Type::Variant(variant) => Shape::Variant(
                variant
                    .cases()
                    .map(|case| {
                        self.left = self.left.checked_sub(1).ok_or(NoTool::TooLarge)?;
                        let payload = case.ty.map(|ty| self.shape(&ty)).transpose()?;
                        Ok(Case { name: case.name.to_owned(), payload })
                    })
                    .collect::<Result<_, NoTool>>()?,
            ),
            Type::Enum(cases) => Shape::Enum(self.names(cases.names())?),
            Type::Flags(flags) => Shape::Flags(self.names(flags.names())?),
            _ => return Err(NoTool::TooLarge),
        })
    }

    fn names<'a>(&mut self, names: impl ExactSizeIterator<Item = &'a str>) -> Result<Vec<String>, NoTool> {
        self.left = self.left.checked_sub(names.len()).ok_or(NoTool::TooLarge)?;
        Ok(names.map(ToOwned::to_owned).collect())
    }
}
