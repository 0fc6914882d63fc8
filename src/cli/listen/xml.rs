//! The members of an XML document: the elements right inside its root.

use std::collections::BTreeMap;

use quick_xml::{
    Reader,
    escape::resolve_predefined_entity,
    events::{BytesRef, Event},
};

/// The elements right inside the root by their names, each with its own text; the first of a name counts. None when
/// the document is not well-formed. Nothing is fetched, and no entity but XML's own is resolved.
pub fn members(document: &str) -> Option<BTreeMap<String, String>> {
    let mut reader = Reader::from_str(document);
    let mut members = BTreeMap::new();
    let mut depth = 0_usize;
    // The element right inside the root that is open.
    let mut open = (String::new(), String::new());
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => {
                if depth == 1 {
                    open = (start.name().as_ref().to_owned(), String::new());
                }
                depth += 1;
            }
            Event::End(_) => {
                depth = depth.checked_sub(1)?;
                if depth == 1 {
                    let (name, text) = std::mem::take(&mut open);
                    members.entry(name).or_insert(text);
                }
            }
            Event::Empty(empty) if depth == 1 => {
                let name = empty.name().as_ref().to_owned();
                members.entry(name).or_default();
            }
            Event::Text(text) if depth == 2 => open.1 += &text.xml10_content(),
            Event::GeneralRef(reference) if depth == 2 => open.1 += &resolved(&reference)?,
            Event::Eof => return (depth == 0).then_some(members),
            _ => {}
        }
    }
}

fn resolved(reference: &BytesRef<'_>) -> Option<String> {
    match reference.resolve_char_ref().ok()? {
        Some(letter) => Some(letter.to_string()),
        None => resolve_predefined_entity(reference).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_elements_inside_the_root_are_members() {
        let document = "<?xml version=\"1.0\"?>\n<event a=\"1\"><type>a&amp;b&#33;</type><none/>\
                        <data>x<type>inner</type>y</data><type>second</type></event>";
        let members = members(document).unwrap();
        let told: Vec<_> = members
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        assert_eq!(told, [("data", "xy"), ("none", ""), ("type", "a&b!")]);
    }

    #[test]
    fn what_is_not_well_formed_has_no_members() {
        for document in [
            "<a><b>1</a>",
            "<a><b>1</b>",
            "</a>",
            "<a><b>&secret;</b></a>",
            "<!DOCTYPE a [<!ENTITY e \"x\">]><a><b>&e;</b></a>",
        ] {
            assert_eq!(members(document), None, "{document}");
        }
        let deep = "<a>".repeat(100_000) + &"</a>".repeat(100_000);
        assert!(members(&deep).is_some());
    }
}
