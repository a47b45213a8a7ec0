//! The contract with plugins does not change by accident.

use std::path::Path;

use wit_component::WitPrinter;
use wit_parser::Resolve;

/// All worlds and interfaces of the package, resolved and without their documentation. Where this differs, the contract
/// has changed: if that is meant, review the difference and store it with `cargo insta accept`.
#[test]
fn the_contract_with_plugins() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(&folder).expect("the package of the folder wit");
    let mut printer = WitPrinter::default();
    printer.emit_docs(false);
    printer.print(&resolve, package, &[]).expect("a package that can be printed");
    insta::assert_snapshot!(printer.output.to_string());
}
