//! A component's world as text.

use wit_component::WitPrinter;
use wit_parser::{
    PackageId, Resolve, WorldId, WorldItem,
    decoding::{DecodedWasm, decode},
};

/// The longest text that is kept, in bytes.
const MAX_TEXT_BYTES: usize = 256 << 10;

/// The namespace of interfaces that everybody knows.
const WASI: &str = "wasi";

/// The world of a component, and the interfaces in it that are not WASI's, as WIT. It is for people: where WIT has no words
/// for a component, that is what it says.
pub(crate) fn text(component: &[u8]) -> String {
    let mut text = print(component).unwrap_or_else(|why| format!("// WIT has no words for this component: {why}\n"));
    if text.len() > MAX_TEXT_BYTES {
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
        text.push_str("\n// and more, which is not shown\n");
    }
    text
}

fn print(component: &[u8]) -> Result<String, String> {
    let decoded = decode(component).map_err(|error| format!("{error:#}"))?;
    let DecodedWasm::Component(resolve, world) = &decoded else {
        return Err("it is a WIT package".to_owned());
    };
    let shown = |id: &PackageId| resolve.packages[*id].name.namespace != WASI;
    let nested: Vec<PackageId> = packages(resolve, *world).filter(shown).collect();
    let mut printer = WitPrinter::default();
    printer.print(resolve, decoded.package(), &nested).map_err(|error| format!("{error:#}"))?;
    Ok(printer.output.to_string())
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
