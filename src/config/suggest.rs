//! "Did you mean …": the known name closest to a misspelt one.

/// The name among `known` that is at most three edits from `word`, and the closest.
pub fn closest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Longer than any key by more than the edits allowed: not worth the quadratic comparison.
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return None;
    }
    known
        .map(|name| (edits(word, name), name))
        .filter(|(count, name)| *count <= 3 && *count < name.len())
        .min_by_key(|(count, _)| *count)
        .map(|(_, name)| name)
}

/// How many letters must be inserted, deleted or replaced to make `a` of `b` (Levenshtein's distance).
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_finds_its_neighbour_and_nonsense_finds_none() {
        let known = ["durability", "data", "key_file"];
        assert_eq!(closest("durabilty", known.into_iter()), Some("durability"));
        assert_eq!(closest("keyfile", known.into_iter()), Some("key_file"));
        assert_eq!(closest("qqqqqqqqqq", known.into_iter()), None);
        assert_eq!(edits("kitten", "sitting"), 3);
    }
}
