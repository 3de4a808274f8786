//! Kubernetes quantities (`resource.Quantity`): read and compared exactly, never printed anew.
//!
//! What is written to the cluster is the text as it was given, so no canonical form is needed.

/// A quantity, in billionths: the finest step that Kubernetes keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(i128);

/// The text is no quantity, or is beyond what Kubernetes can hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no Kubernetes quantity")]
pub struct QuantityError;

const NANO: i128 = 1_000_000_000;

impl Quantity {
    /// Reads a quantity such as `256Mi`, `500m`, `0.5`, `2e3` or `1G`. Finer than a billionth rounds up,
    /// as in Kubernetes.
    ///
    /// # Errors
    /// When the text is no quantity or its amount is 2^63 or more.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let (negative, text) = match text.strip_prefix(['-', '+']) {
            Some(rest) => (text.starts_with('-'), rest),
            None => (false, text),
        };
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = format!("{whole}{fraction}");
        if digits.is_empty() || digits.len() > 30 || fraction.contains('.') {
            return Err(QuantityError);
        }
        let digits: i128 = digits.parse().map_err(|_| QuantityError)?;
        let places = i32::try_from(fraction.len()).map_err(|_| QuantityError)?;
        let (factor, exponent) = scale(suffix)?;
        let amount = shift(digits.checked_mul(factor).ok_or(QuantityError)?, exponent - places + 9)?;
        if amount > i128::from(i64::MAX) * NANO {
            return Err(QuantityError);
        }
        Ok(Self(if negative { -amount } else { amount }))
    }

    /// True when above zero.
    pub fn is_positive(self) -> bool {
        self.0 > 0
    }
}

/// Factor and power of ten of a suffix.
fn scale(suffix: &str) -> Result<(i128, i32), QuantityError> {
    Ok(match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError)?;
            let exponent: i32 = exponent.parse().map_err(|_| QuantityError)?;
            (1, exponent)
        }
    })
}

/// `value` times ten to the `exponent`, rounded up.
fn shift(value: i128, exponent: i32) -> Result<i128, QuantityError> {
    if value == 0 {
        return Ok(0);
    }
    let Some(power) = 10_i128.checked_pow(exponent.unsigned_abs()) else {
        return if exponent < 0 { Ok(1) } else { Err(QuantityError) };
    };
    if exponent < 0 {
        Ok(value / power + i128::from(value % power != 0))
    } else {
        value.checked_mul(power).ok_or(QuantityError)
    }
}

#[cfg(test)]
mod tests {
    use super::Quantity;

    fn equal(left: &str, right: &str) {
        assert_eq!(Quantity::parse(left), Quantity::parse(right), "{left} = {right}");
        assert!(Quantity::parse(left).is_ok(), "{left} is a quantity");
    }

    #[test]
    fn spellings_of_one_amount_are_equal() {
        for (left, right) in [
            ("1Gi", "1024Mi"),
            ("1Ki", "1024"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("5.", "5"),
            ("+1", "1"),
            ("1k", "1000"),
            ("2e3", "2k"),
            ("2E3", "2000"),
            ("1E", "1000P"),
            ("1500m", "1.5"),
            ("1u", "1000n"),
            ("1e-3", "1m"),
            ("0.1n", "1n"),
            ("128Mi", "134217728"),
            ("4Ti", "4096Gi"),
            ("1Pi", "1024Ti"),
        ] {
            equal(left, right);
        }
    }

    #[test]
    fn amounts_compare_across_units() {
        for (less, more) in
            [("999m", "1"), ("1G", "1Gi"), ("128Mi", "129Mi"), ("-1", "0"), ("1M", "1Mi"), ("7Ei", "7.1Ei")]
        {
            assert!(Quantity::parse(less).unwrap() < Quantity::parse(more).unwrap(), "{less} < {more}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in [
            "", "-", ".", "Mi", "1 Mi", "1mi", "1KI", "1K", "1.2.3", "abc", "1e", "1ee3", "0x10", "1Gi ", " 1", "1e99",
            "9E9E", "8Ei", "--1", "1iM", "١",
        ] {
            assert!(Quantity::parse(text).is_err(), "{text:?} is refused");
        }
    }
}
