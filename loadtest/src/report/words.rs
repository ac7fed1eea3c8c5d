//! Numbers as people read them: three significant digits and the unit that fits.

use std::time::Duration;

/// A duration with three significant digits in the unit that fits.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let us = duration.as_secs_f64() * 1e6;
    match us {
        _ if us < 999.5 => format!("{} µs", significant(us)),
        _ if us < 999_500.0 => format!("{} ms", significant(us / 1e3)),
        _ => format!("{} s", significant(us / 1e6)),
    }
}

/// Microseconds as [`duration`] has them.
pub(crate) fn microseconds(us: f64) -> String {
    duration(Duration::from_secs_f64(us.max(0.0) / 1e6))
}

/// Three significant digits, at least for numbers from 0.01 on.
#[must_use]
pub fn significant(number: f64) -> String {
    match number.abs() {
        size if size < 0.995 => format!("{number:.3}"),
        size if size < 9.995 => format!("{number:.2}"),
        size if size < 99.95 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

/// A number with a comma between each three digits.
#[must_use]
pub fn grouped(number: u64) -> String {
    group(&number.to_string())
}

/// A number that is not negative, rounded and grouped.
#[must_use]
pub fn rounded(number: f64) -> String {
    group(&format!("{number:.0}"))
}

fn group(digits: &str) -> String {
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three_digits() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (25_123, "25,123"), (1_234_567, "1,234,567")]
        {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn durations_keep_three_digits_in_the_unit_that_fits() {
        for (us, text) in [
            (0.0, "0.000 µs"),
            (3.417, "3.42 µs"),
            (391.4, "391 µs"),
            (999.6, "1.00 ms"),
            (12_345.0, "12.3 ms"),
            (2_100_000.0, "2.10 s"),
            (100_000_000.0, "100 s"),
        ] {
            assert_eq!(microseconds(us), text);
        }
    }
}
