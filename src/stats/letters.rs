//! Compact letter display: two rows share a letter exactly if they are not separated (Piepho 2004).
//!
//! A letter is a maximal set of rows without a separated pair. Piepho's insertions and absorptions may give
//! exponentially many such sets. Here a pair starts a set only if it is not separated and shares no set yet, which
//! gives at most n(n + 1)/2. Sets whose pairs all share another set are removed, as in his sweep.

/// Letters of each row, from `a` for the first row's group; after `z` follow `aa`, `ab` … In that case the letters of
/// a row stand apart by blanks. `separated` must be symmetric, with rows best first.
pub fn letters(separated: &[Vec<bool>]) -> Vec<String> {
    let groups = groups(separated);
    let apart = if groups.len() > 26 { " " } else { "" };
    let of_row = |row: usize| {
        let held = groups.iter().enumerate().filter(|(_, group)| group.contains(&row));
        held.map(|(nth, _)| letter(nth)).collect::<Vec<String>>().join(apart)
    };
    (0..separated.len()).map(of_row).collect()
}

/// `a`, `b` … `z`, `aa`, `ab` …
fn letter(mut nth: usize) -> String {
    let mut text = String::new();
    loop {
        text.insert(0, char::from(b'a' + (nth % 26) as u8));
        if nth < 26 {
            return text;
        }
        nth = nth / 26 - 1;
    }
}

/// The sets of rows that share a letter, in the order of the letters; each in the order of the rows.
fn groups(separated: &[Vec<bool>]) -> Vec<Vec<usize>> {
    let n = separated.len();
    // How many sets each pair shares.
    let mut shared = vec![vec![0usize; n]; n];
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for i in 0..n {
        for j in i..n {
            if separated[i][j] || shared[i][j] > 0 {
                continue;
            }
            let mut group = vec![i, j];
            group.dedup();
            for k in 0..n {
                if !group.contains(&k) && group.iter().all(|&member| !separated[member][k]) {
                    group.push(k);
                }
            }
            group.sort_unstable();
            pairs(&group).for_each(|(a, b)| shared[a][b] += 1);
            groups.push(group);
        }
    }
    for nth in (0..groups.len()).rev() {
        if pairs(&groups[nth]).all(|(a, b)| shared[a][b] > 1) {
            pairs(&groups[nth]).for_each(|(a, b)| shared[a][b] -= 1);
            groups.remove(nth);
        }
    }
    groups.sort_unstable();
    groups
}

/// All (a, b) of an ascending group with a ≤ b.
fn pairs(group: &[usize]) -> impl Iterator<Item = (usize, usize)> + '_ {
    group.iter().enumerate().flat_map(|(nth, &a)| group[nth..].iter().map(move |&b| (a, b)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matrix(n: usize, pairs: &[(usize, usize)]) -> Vec<Vec<bool>> {
        let mut separated = vec![vec![false; n]; n];
        for &(a, b) in pairs {
            (separated[a][b], separated[b][a]) = (true, true);
        }
        separated
    }

    /// The letters of each row, which stand apart by blanks if there are more than 26.
    fn sets(display: &[String]) -> Vec<Vec<String>> {
        let apart = display.iter().any(|row| row.contains(' '));
        let of_row = |row: &String| match apart {
            true => row.split(' ').map(str::to_string).collect(),
            false => row.chars().map(String::from).collect(),
        };
        display.iter().map(of_row).collect()
    }

    fn share(one: &[String], other: &[String]) -> bool {
        one.iter().any(|letter| other.contains(letter))
    }

    #[test]
    fn textbook_displays() {
        assert_eq!(letters(&matrix(3, &[])), ["a", "a", "a"]);
        assert_eq!(letters(&matrix(3, &[(0, 1), (0, 2), (1, 2)])), ["a", "b", "c"]);
        assert_eq!(letters(&matrix(3, &[(0, 2)])), ["a", "ab", "b"]);
        // Groups {0 … 5}, {2, 5, 6} and {6, 7}.
        let uneven = [(0, 6), (0, 7), (1, 6), (1, 7), (2, 7), (3, 6), (3, 7), (4, 6), (4, 7), (5, 7)];
        assert_eq!(letters(&matrix(8, &uneven)), ["a", "a", "ab", "a", "a", "ab", "bc", "c"]);
        assert!(letters(&[]).is_empty());
    }

    #[test]
    fn letters_go_on_after_z() {
        let named: Vec<String> = [0, 25, 26, 27, 51, 52, 701, 702].map(letter).to_vec();
        assert_eq!(named, ["a", "z", "aa", "ab", "az", "ba", "zz", "aaa"]);
        let all: Vec<(usize, usize)> = (0..30).flat_map(|a| (0..a).map(move |b| (a, b))).collect();
        let found = letters(&matrix(30, &all));
        assert_eq!((found[0].as_str(), found[25].as_str(), found[29].as_str()), ("a", "z", "ad"));
        // The first row joins all others, which are separated: 29 groups, so letters need blanks.
        let but_first: Vec<(usize, usize)> = all.iter().copied().filter(|&(_, b)| b > 0).collect();
        let found = letters(&matrix(30, &but_first));
        assert!(found[0].starts_with("a b c") && found[0].ends_with("z aa ab ac"), "{}", found[0]);
        let sets = sets(&found);
        assert!((1..30).all(|row| share(&sets[0], &sets[row])));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn rows_share_a_letter_exactly_if_they_are_not_separated(
            n in 1usize..14,
            apart in prop::collection::vec(any::<bool>(), 100),
        ) {
            let pairs: Vec<(usize, usize)> = (0..n).flat_map(|a| (0..a).map(move |b| (a, b))).collect();
            let separated: Vec<(usize, usize)> =
                pairs.iter().zip(&apart).filter(|(_, apart)| **apart).map(|(pair, _)| *pair).collect();
            let found = letters(&matrix(n, &separated));
            prop_assert!(found.iter().all(|row| !row.is_empty()));
            prop_assert!(found[0].starts_with('a'));
            let sets = sets(&found);
            for pair in pairs {
                let shared = share(&sets[pair.0], &sets[pair.1]);
                prop_assert_eq!(shared, !separated.contains(&pair), "{:?} {:?}", pair, &found);
            }
        }
    }
}
