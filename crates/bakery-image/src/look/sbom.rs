//! Bills of materials: SPDX 2.3 and CycloneDX 1.5, as JSON. The same image makes the same bytes.

use bakery_store::Image;
use serde_json::{Value as Json, json};

use super::packages::{distribution, packages};
use super::{Package, Tree};

/// A format of bills of materials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SbomFormat {
    /// SPDX 2.3.
    Spdx,
    /// CycloneDX 1.5.
    CycloneDx,
}

/// The bill of materials of an image.
pub fn sbom(tree: &Tree, image: &Image, format: SbomFormat) -> Json {
    let all = packages(tree);
    let distribution = distribution(tree);
    match format {
        SbomFormat::Spdx => spdx(image, &all, &distribution),
        SbomFormat::CycloneDx => cyclonedx(image, &all, &distribution),
    }
}

fn serial(image: &Image) -> uuid::Uuid {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, image.key.as_bytes())
}

/// Letters, digits, dots and dashes are all that an identifier may have.
fn reference(at: usize, package: &Package) -> String {
    let clean: String = package
        .name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || ".-".contains(c) { c } else { '-' })
        .collect();
    format!("SPDXRef-{}-{clean}-{at}", package.kind)
}

fn spdx(image: &Image, packages: &[Package], distribution: &(String, String)) -> Json {
    let none = "NOASSERTION";
    let mut list = vec![json!({
        "SPDXID": "SPDXRef-image",
        "name": image.name,
        "versionInfo": image.id,
        "downloadLocation": none,
        "filesAnalyzed": false,
        "licenseConcluded": none,
        "licenseDeclared": none,
        "copyrightText": none,
        "primaryPackagePurpose": "OPERATING-SYSTEM",
    })];
    let mut relations = vec![json!({
        "spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-image",
    })];
    for (at, package) in packages.iter().enumerate() {
        let id = reference(at, package);
        let supplier = if package.supplier.is_empty() {
            none.to_owned()
        } else {
            format!("Organization: {}", package.supplier)
        };
        list.push(json!({
            "SPDXID": id,
            "name": package.name,
            "versionInfo": package.version,
            "supplier": supplier,
            "homepage": if package.homepage.contains("://") { package.homepage.as_str() } else { none },
            "downloadLocation": none,
            "filesAnalyzed": false,
            "licenseConcluded": none,
            "licenseDeclared": none,
            "copyrightText": none,
            "externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": package.purl(distribution),
            }],
        }));
        relations.push(json!({
            "spdxElementId": "SPDXRef-image", "relationshipType": "CONTAINS", "relatedSpdxElement": id,
        }));
    }
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": image.name,
        "documentNamespace": format!("urn:uuid:{}", serial(image)),
        "creationInfo": { "created": image.created, "creators": [format!("Tool: bakery-{}", env!("CARGO_PKG_VERSION"))] },
        "packages": list,
        "relationships": relations,
    })
}

fn cyclonedx(image: &Image, packages: &[Package], distribution: &(String, String)) -> Json {
    let components = packages.iter().map(|package| {
        let purl = package.purl(distribution);
        let mut component = json!({
            "type": "library",
            "bom-ref": purl,
            "name": package.name,
            "version": package.version,
            "purl": purl,
        });
        if !package.supplier.is_empty() {
            component["supplier"] = json!({ "name": package.supplier });
        }
        component
    });
    let components: Vec<Json> = components.collect();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": format!("urn:uuid:{}", serial(image)),
        "version": 1,
        "metadata": {
            "timestamp": image.created,
            "tools": { "components": [{ "type": "application", "name": "bakery", "version": env!("CARGO_PKG_VERSION") }] },
            "component": { "type": "operating-system", "bom-ref": image.id, "name": image.name, "version": image.id },
        },
        "components": components,
    })
}
