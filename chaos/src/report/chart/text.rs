//! How wide text will be, and where labels go so that none lies on another.
//!
//! The page is laid out before anybody knows the reader's fonts, so widths are estimates on the wide side.

use crate::report::words::real;

/// Height of a small label, in units of the drawing (pixels at scale 1).
pub(super) const SMALL: f64 = 11.0;

/// The width of `text` at a font size, on the wide side of usual sans-serif fonts.
pub(super) fn width(text: &str, size: f64) -> f64 {
    let em = |character: char| match character {
        'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | '·' => 0.32,
        'f' | 't' | 'r' | ' ' | '\u{a0}' | '\u{202f}' | '(' | ')' | '/' | '-' => 0.40,
        'm' | 'w' | 'M' | 'W' | '…' | '—' => 0.95,
        'A'..='Z' => 0.72,
        character if character.is_ascii() => 0.60,
        _ => 0.80,
    };
    text.chars().map(em).sum::<f64>() * size
}

/// `text`, cut so that it is no wider than `room`; empty if not even three characters are.
pub(super) fn fit(text: &str, size: f64, room: f64) -> String {
    if width(text, size) <= room {
        return text.to_owned();
    }
    let mut kept = String::new();
    for character in text.chars() {
        kept.push(character);
        if width(&kept, size) + width("…", size) > room {
            kept.pop();
            break;
        }
    }
    let kept = kept.trim_end();
    if kept.chars().count() < 3 { String::new() } else { format!("{kept}…") }
}

/// `text`, without its middle if it is wider than `room`.
pub(super) fn squeeze(text: &str, size: f64, room: f64) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut kept = characters.len();
    let mut squeezed = text.to_owned();
    while width(&squeezed, size) > room && kept > 2 {
        kept -= 1;
        let (head, tail) = (kept.div_ceil(2), kept / 2);
        let tail = characters.iter().skip(characters.len() - tail);
        squeezed = characters.iter().take(head).chain(['…'].iter()).chain(tail).collect();
    }
    squeezed
}

/// Puts things that reach from `.0` to `.1` into as few rows as are needed so that none touches another. Gives the row
/// of each, in their order; those that would need a row beyond `rows_max` get none.
pub(super) fn rows(reaches: &[(f64, f64)], gap: f64, rows_max: usize) -> Vec<Option<usize>> {
    let mut ends: Vec<Vec<(f64, f64)>> = Vec::new();
    let place = |&(from, to): &(f64, f64)| {
        let free = |row: &Vec<(f64, f64)>| row.iter().all(|taken| to + gap <= taken.0 || taken.1 + gap <= from);
        if let Some((at, row)) = ends.iter_mut().enumerate().find(|(_, row)| free(row)) {
            row.push((from, to));
            return Some(at);
        }
        (ends.len() < rows_max).then(|| {
            ends.push(vec![(from, to)]);
            ends.len() - 1
        })
    };
    reaches.iter().map(place).collect()
}

/// Moves heights apart until neighbours are `gap` from each other, all between `top` and `bottom` if they fit there.
/// Gives the new heights in the order of the old ones.
pub(super) fn spread(wanted: &[f64], gap: f64, top: f64, bottom: f64) -> Vec<f64> {
    let mut order: Vec<(usize, f64)> = wanted.iter().copied().enumerate().collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut floor = top;
    for (_, y) in &mut order {
        *y = y.max(floor);
        floor = *y + gap;
    }
    let mut ceiling = bottom;
    for (_, y) in order.iter_mut().rev() {
        *y = y.min(ceiling);
        ceiling = *y - gap;
    }
    order.sort_by_key(|(at, _)| *at);
    order.into_iter().map(|(_, y)| y).collect()
}

/// Round steps from zero that reach `most`, at most `steps` of them: 1, 2 or 5 times a power of ten.
pub(super) fn scale(most: f64, steps: u32) -> Vec<f64> {
    let rough = most.max(1e-9) / f64::from(steps.max(1));
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(power * 10.0);
    let mut marks = vec![0.0];
    for at in 1..=u64::from(steps.max(1)) {
        marks.push(step * real(at));
        if step * real(at) >= most {
            break;
        }
    }
    marks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_two_things_of_a_row_touch(reaches in proptest::collection::vec((0.0..1000.0f64, 1.0..200.0f64), 0..40)) {
            let reaches: Vec<_> = reaches.into_iter().map(|(from, width)| (from, from + width)).collect();
            let placed = rows(&reaches, 4.0, 100);
            for (at, row) in placed.iter().enumerate() {
                for (other, other_row) in placed.iter().enumerate().skip(at + 1) {
                    prop_assert!(row.is_some());
                    let apart = reaches[at].1 + 4.0 <= reaches[other].0 || reaches[other].1 + 4.0 <= reaches[at].0;
                    prop_assert!(row != other_row || apart);
                }
            }
        }

        #[test]
        fn labels_that_fit_are_spread_within_their_room(wanted in proptest::collection::vec(0.0..100.0f64, 0..8)) {
            let mut placed = spread(&wanted, 12.0, 0.0, 100.0);
            placed.sort_by(f64::total_cmp);
            prop_assert!(placed.iter().all(|y| (-0.01..=100.01).contains(y)));
            prop_assert!(placed.windows(2).all(|pair| pair[1] - pair[0] >= 11.99));
        }

        #[test]
        fn a_scale_reaches_what_it_has_to_show(most in 0.001..1e9f64, steps in 2u32..8) {
            let marks = scale(most, steps);
            prop_assert!(marks.len() >= 2 && marks.len() <= 9);
            prop_assert!(*marks.last().unwrap() >= most * 0.999);
        }

        #[test]
        fn what_is_cut_to_fit_fits(text in "\\PC{0,60}", room in 0.0..300.0f64) {
            let cut = fit(&text, SMALL, room);
            prop_assert!(cut.is_empty() || width(&cut, SMALL) <= room);
        }
    }

    #[test]
    fn names_that_differ_at_the_end_stay_different() {
        assert_eq!(squeeze("eu-west-1", SMALL, 100.0), "eu-west-1");
        let (one, other) =
            (squeeze("edge-of-europe-north-17", SMALL, 60.0), squeeze("edge-of-europe-north-18", SMALL, 60.0));
        assert!(one != other && width(&one, SMALL) <= 60.0, "{one}");
    }

    #[test]
    fn rows_beyond_the_most_are_left_out() {
        assert_eq!(rows(&[(0.0, 9.0), (1.0, 9.0), (2.0, 9.0)], 1.0, 2), [Some(0), Some(1), None]);
    }
}
