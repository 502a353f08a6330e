//! Text in columns.

/// Names to the left, figures to the right of their columns.
pub(super) fn aligned(lines: &[Vec<String>], names: usize) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let length = |cell: &String| cell.chars().count();
    let width = |n: usize| lines.iter().filter_map(|line| line.get(n)).map(length).max();
    let widths: Vec<usize> = (0..columns).map(|n| width(n).unwrap_or(0)).collect();
    let line = |cells: &Vec<String>| -> String {
        let cells = cells.iter().zip(&widths).enumerate();
        let cells = cells.map(|(n, (cell, width))| {
            if n < names {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    lines.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_to_the_left_and_figures_to_the_right() {
        let lines = [["a", "s × t", "1.0"], ["longer", "b", "100.0"]];
        let lines = lines.map(|line| line.map(str::to_owned).to_vec());
        assert_eq!(aligned(&lines, 2), "a       s × t    1.0\nlonger  b      100.0\n");
    }
}
