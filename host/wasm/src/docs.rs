//! What a component says about its own functions: the doc comments of its WIT.
//!
//! The binary format of components has no place for doc comments. Tools agree on the custom section `package-docs`, which is
//! [`PackageMetadata`] in JSON behind a version byte. Compilers leave it out, so whoever adds a component puts it there
//! from the author's WIT, and whoever shows the component's functions reads it.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use wasm_encoder::{ComponentSection, CustomSection};
use wasmparser::{BinaryReader, ComponentExportSectionReader};
use wit_parser::{PackageId, PackageMetadata, Resolve, WorldId};

/// The largest section that is read, in bytes.
const MAX_SECTION_BYTES: usize = 256 << 10;
const PREAMBLE: &[u8; 8] = b"\0asm\x0d\0\x01\0";
const CUSTOM: u8 = 0;
const EXPORT: u8 = 11;

/// Why a component got no docs.
#[derive(Debug, thiserror::Error)]
pub enum DocsError {
    /// It is not a component.
    #[error("it is no WebAssembly component")]
    NotAComponent,
    /// The WIT cannot be read.
    #[error("the WIT cannot be read: {0}")]
    Wit(
        /// What the parser says, with the place.
        String,
    ),
    /// The WIT is not this component's.
    #[error(
        "no world in {} exports what the component does ({exports}): name the folder that it was built from",
        dir.display()
    )]
    OtherWorld {
        /// The folder of the WIT package.
        dir: PathBuf,
        /// What the component exports.
        exports: String,
    },
    /// There is too much of it.
    #[error("the docs have {bytes} bytes, and at most {MAX_SECTION_BYTES} are read: shorten them")]
    TooLong {
        /// The size of the section.
        bytes: usize,
    },
}

/// The component with the doc comments of its WIT in it, in place of any that it has.
///
/// `wit_dir` is a WIT package as its author has it, with a folder `deps` where it needs one. Only the world that the component
/// was built from is described, together with the package's interfaces.
pub fn with_docs(component: &[u8], wit_dir: &Path) -> Result<Vec<u8>, DocsError> {
    if !component.starts_with(PREAMBLE) {
        return Err(DocsError::NotAComponent);
    }
    let (mut resolve, package) = parse(wit_dir)?;
    let exports = exports(component);
    let world = world(&resolve, package, &exports).ok_or_else(|| {
        let exports = if exports.is_empty() { vec!["nothing"] } else { exports.iter().copied().collect() };
        DocsError::OtherWorld { dir: wit_dir.to_owned(), exports: exports.join(", ") }
    })?;
    resolve.packages[package].worlds.retain(|_, other| *other == world);
    let metadata = PackageMetadata::extract(&resolve, package);
    let section = metadata.encode().map_err(|error| DocsError::Wit(error.to_string()))?;
    if section.len() > MAX_SECTION_BYTES {
        return Err(DocsError::TooLong { bytes: section.len() });
    }
    let mut documented = without_docs(component);
    let section = CustomSection { name: PackageMetadata::SECTION_NAME.into(), data: section.into() };
    section.append_to_component(&mut documented);
    Ok(documented)
}

/// The component without any docs, as its compiler has made it.
pub(crate) fn without_docs(component: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(component.len());
    let mut end = 0;
    for section in Sections::of(component).filter(|section| section.docs().is_some()) {
        plain.extend_from_slice(&component[end..section.whole.start]);
        end = section.whole.end;
    }
    plain.extend_from_slice(&component[end..]);
    plain
}

/// What is said about functions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Docs {
    /// By the function's name, in an interface of this name.
    interfaces: HashMap<String, HashMap<String, String>>,
    functions: HashMap<String, String>,
}

impl Docs {
    /// What is said about a function of the component. `interface` is the name under which the component exports the interface
    /// that has it, `shop:orders/orders@1.0.0` or `orders`; `None` stands for the world itself.
    pub(crate) fn function(&self, interface: Option<&str>, function: &str) -> Option<&str> {
        let functions = match interface {
            Some(interface) => self.interfaces.get(short(interface))?,
            None => &self.functions,
        };
        functions.get(function).map(String::as_str)
    }
}

/// Reads the docs of a component. What is missing, too long, or in no form that is known, is no docs.
pub(crate) fn read(component: &[u8]) -> Docs {
    let section = Sections::of(component).find_map(|section| section.docs());
    section.filter(|section| section.len() <= MAX_SECTION_BYTES).and_then(package).map(collect).unwrap_or_default()
}

/// The part of the section that is used here, in all versions of it.
#[derive(Deserialize)]
struct Package {
    #[serde(default)]
    worlds: HashMap<String, World>,
    #[serde(default)]
    interfaces: HashMap<String, Interface>,
}

#[derive(Deserialize)]
struct World {
    #[serde(default, rename = "interfaces")]
    imports_or_exports: HashMap<String, Interface>,
    #[serde(default)]
    interface_exports: HashMap<String, Interface>,
    #[serde(default)]
    funcs: HashMap<String, Function>,
    #[serde(default)]
    func_exports: HashMap<String, Function>,
}

#[derive(Deserialize)]
struct Interface {
    #[serde(default)]
    funcs: HashMap<String, Function>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Function {
    Text(String),
    Described { docs: Option<String> },
}

fn package(section: &[u8]) -> Option<Package> {
    let (0 | 1, json) = section.split_first()? else { return None };
    serde_json::from_slice(json).ok()
}

fn collect(package: Package) -> Docs {
    let mut docs = Docs::default();
    for (name, interface) in package.interfaces {
        docs.interfaces.entry(name).or_default().extend(texts(interface.funcs));
    }
    for world in package.worlds.into_values() {
        // What is only exported comes last: it stands where an import has the same name.
        for (name, interface) in world.imports_or_exports.into_iter().chain(world.interface_exports) {
            docs.interfaces.entry(name).or_default().extend(texts(interface.funcs));
        }
        docs.functions.extend(texts(world.funcs).chain(texts(world.func_exports)));
    }
    docs
}

fn texts(functions: HashMap<String, Function>) -> impl Iterator<Item = (String, String)> {
    functions.into_iter().filter_map(|(name, function)| {
        let (Function::Text(text) | Function::Described { docs: Some(text) }) = function else { return None };
        let text = plain(&text);
        (!text.is_empty()).then_some((name, text))
    })
}

/// A stranger's text without what moves a terminal's cursor.
fn plain(text: &str) -> String {
    let text: String = text.chars().filter(|char| !char.is_control() || matches!(char, '\n' | '\t')).collect();
    text.trim().to_owned()
}

/// The interface's own part of a name as `shop:orders/orders@1.0.0`.
fn short(interface: &str) -> &str {
    let name = interface.rsplit_once('/').map_or(interface, |(_, name)| name);
    name.split_once('@').map_or(name, |(name, _)| name)
}

fn parse(dir: &Path) -> Result<(Resolve, PackageId), DocsError> {
    // Whether what is marked as unstable may be used, the compiler has decided already.
    let mut resolve = Resolve { all_features: true, ..Resolve::default() };
    match resolve.push_path(dir) {
        Ok((package, _)) => Ok((resolve, package)),
        Err(error) => Err(DocsError::Wit(resolve.render_error(&error))),
    }
}

/// The world that exports nothing that the component does not, and the most of it.
fn world(resolve: &Resolve, package: PackageId, exports: &BTreeSet<&str>) -> Option<WorldId> {
    let names = |id: WorldId| resolve.worlds[id].exports.keys().map(|key| resolve.name_world_key(key));
    let worlds = resolve.packages[package].worlds.values().copied();
    worlds
        .filter(|id| names(*id).all(|name| exports.contains(name.as_str())))
        .filter(|id| names(*id).next().is_some())
        .max_by_key(|id| names(*id).count())
}

/// The names of what the component exports.
fn exports(component: &[u8]) -> BTreeSet<&str> {
    let sections = Sections::of(component).filter(|section| section.id == EXPORT);
    let readers =
        sections.filter_map(|section| ComponentExportSectionReader::new(BinaryReader::new(section.body, 0)).ok());
    readers.flat_map(IntoIterator::into_iter).map_while(Result::ok).map(|export| export.name.name).collect()
}

/// The outermost sections of a component, as far as they can be read.
struct Sections<'a> {
    component: &'a [u8],
    at: usize,
}

struct Section<'a> {
    id: u8,
    /// Where it is, its header included.
    whole: Range<usize>,
    body: &'a [u8],
}

impl<'a> Sections<'a> {
    fn of(component: &'a [u8]) -> Self {
        let at = if component.starts_with(PREAMBLE) { PREAMBLE.len() } else { component.len() };
        Self { component, at }
    }
}

impl<'a> Iterator for Sections<'a> {
    type Item = Section<'a>;

    fn next(&mut self) -> Option<Section<'a>> {
        let mut reader = BinaryReader::new(self.component.get(self.at..)?, 0);
        let id = reader.read_u8().ok()?;
        let size = reader.read_var_u32().ok()?;
        let body = reader.read_bytes(size as usize).ok()?;
        let start = self.at;
        self.at += reader.current_position();
        Some(Section { id, whole: start..self.at, body })
    }
}

impl<'a> Section<'a> {
    /// What is in it, if it is the section with docs.
    fn docs(&self) -> Option<&'a [u8]> {
        if self.id != CUSTOM {
            return None;
        }
        let mut reader = BinaryReader::new(self.body, 0);
        let name = reader.read_string().ok()?;
        (name == PackageMetadata::SECTION_NAME).then(|| &self.body[reader.current_position()..])
    }
}

#[cfg(test)]
mod tests;
