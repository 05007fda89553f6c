//! A component's world as text.

use std::panic::catch_unwind;

use wit_component::WitPrinter;
use wit_parser::{
    Function, PackageId, Resolve, WorldId, WorldItem,
    decoding::{DecodedWasm, decode},
};

use crate::docs::{self, Docs};

/// The longest text that is kept, in bytes.
const MAX_TEXT_BYTES: usize = 256 << 10;

/// The namespace of interfaces that everybody knows.
const WASI: &str = "wasi";

/// The world of a component, and the interfaces in it that are not WASI's, as WIT. It is for people: where WIT has no words
/// for a component, that is what it says.
///
/// The component is one that the compiler has taken: of another file the decoder believes every size, and asks for as much
/// memory.
pub(crate) fn text(component: &[u8]) -> String {
    // The decoder panics at names that components may have and packages of WIT may not. What is for people must not keep a
    // component out.
    let printed = catch_unwind(|| print(component)).unwrap_or_else(|_| Err("its names are not WIT's".to_owned()));
    let mut text = printed.unwrap_or_else(|why| format!("// WIT has no words for this component: {why}\n"));
    if text.len() > MAX_TEXT_BYTES {
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
        text.push_str("\n// and more, which is not shown\n");
    }
    text
}

fn print(component: &[u8]) -> Result<String, String> {
    // The docs are of the package that the component was built from, and would be looked for in the one that is made here of
    // the component's types.
    let decoded = decode(&docs::without_docs(component)).map_err(|error| format!("{error:#}"))?;
    let DecodedWasm::Component(mut resolve, world) = decoded else {
        return Err("it is a WIT package".to_owned());
    };
    describe(&mut resolve, world, &docs::read(component));
    let own = resolve.worlds[world].package.ok_or("its world is in no package")?;
    let shown = |id: &PackageId| resolve.packages[*id].name.namespace != WASI;
    let nested: Vec<PackageId> = packages(&resolve, world).filter(shown).collect();
    let mut printer = WitPrinter::default();
    printer.print(&resolve, own, &nested).map_err(|error| format!("{error:#}"))?;
    Ok(printer.output.to_string())
}

/// Puts to each exported function what is said about it.
fn describe(resolve: &mut Resolve, world: WorldId, docs: &Docs) {
    let say = |interface: Option<&str>, function: &mut Function| {
        function.docs.contents = docs.function(interface, &function.name).map(ToOwned::to_owned);
    };
    let mut exports = std::mem::take(&mut resolve.worlds[world].exports);
    for (key, item) in &mut exports {
        match item {
            WorldItem::Function(function) => say(None, function),
            WorldItem::Interface { id, .. } => {
                let name = resolve.name_world_key(key);
                resolve.interfaces[*id].functions.values_mut().for_each(|function| say(Some(&name), function));
            }
            WorldItem::Type { .. } => {}
        }
    }
    resolve.worlds[world].exports = exports;
}

/// The packages of the interfaces that a world imports and exports, each once.
fn packages(resolve: &Resolve, world: WorldId) -> impl Iterator<Item = PackageId> {
    let own = resolve.worlds[world].package;
    let items = resolve.worlds[world].imports.values().chain(resolve.worlds[world].exports.values());
    let packages = items.filter_map(|item| match item {
        WorldItem::Interface { id, .. } => resolve.interfaces[*id].package,
        _ => None,
    });
    packages.filter(move |id| Some(*id) != own).collect::<std::collections::BTreeSet<_>>().into_iter()
}
