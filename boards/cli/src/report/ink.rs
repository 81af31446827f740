//! Colours of a page, in its light and in its dark form.
//!
//! Pictures are drawn in the light colours. For the dark form, the page's style replaces each by
//! its partner: it selects elements by the colour that they were drawn in.

use plotters::style::RGBColor;

/// A colour and its partner in the dark form.
#[derive(Clone, Copy, Debug)]
pub struct Ink {
    light: [u8; 3],
    dark: [u8; 3],
}

/// Texts in pictures.
pub const TEXT: Ink = Ink { light: [0x33, 0x38, 0x3e], dark: [0xc9, 0xcf, 0xd6] };
/// Axes.
pub const AXIS: Ink = Ink { light: [0x76, 0x7c, 0x84], dark: [0x8d, 0x95, 0x9e] };
/// Lines behind a picture.
pub const GRID: Ink = Ink { light: [0xe1, 0xe4, 0xe8], dark: [0x33, 0x38, 0x40] };

/// Lines, points and bars; told apart by people who do not see all colours, with shapes besides.
pub const SERIES: [Ink; 8] = [
    Ink { light: [0x00, 0x5f, 0xa8], dark: [0x5a, 0xb0, 0xff] },
    Ink { light: [0xc2, 0x4a, 0x00], dark: [0xff, 0x9a, 0x57] },
    Ink { light: [0x00, 0x7a, 0x5a], dark: [0x3f, 0xd2, 0xa0] },
    Ink { light: [0x8a, 0x3f, 0xa0], dark: [0xd2, 0x8b, 0xff] },
    Ink { light: [0x8a, 0x66, 0x00], dark: [0xe3, 0xb9, 0x3f] },
    Ink { light: [0xb8, 0x12, 0x50], dark: [0xff, 0x7a, 0x9c] },
    Ink { light: [0x00, 0x78, 0x90], dark: [0x4f, 0xd5, 0xe8] },
    Ink { light: [0x5c, 0x5f, 0x66], dark: [0xb4, 0xb8, 0xbf] },
];

impl Ink {
    /// What pictures are drawn in.
    pub fn colour(self) -> RGBColor {
        let [red, green, blue] = self.light;
        RGBColor(red, green, blue)
    }

    /// The light colour, as pictures write it.
    pub fn light(self) -> String {
        hexadecimal(self.light)
    }

    /// All colours: light and dark.
    pub fn all() -> Vec<[String; 2]> {
        let all = [TEXT, AXIS, GRID].into_iter().chain(SERIES);
        all.map(|ink| [hexadecimal(ink.light), hexadecimal(ink.dark)]).collect()
    }
}

fn hexadecimal([red, green, blue]: [u8; 3]) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The relative luminance of WCAG 2.
    fn luminance(colour: [u8; 3]) -> f64 {
        let linear = colour.map(|part| {
            let part = f64::from(part) / 255.0;
            if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    }

    fn contrast(a: [u8; 3], b: [u8; 3]) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn colours_stand_out_from_the_paper() {
        let (paper, night) = ([0xff; 3], [0x14, 0x17, 0x1a]);
        for ink in SERIES {
            assert!(contrast(ink.light, paper) >= 4.5, "{ink:?}");
            assert!(contrast(ink.dark, night) >= 4.5, "{ink:?}");
        }
        assert!(contrast(TEXT.light, paper) >= 7.0 && contrast(TEXT.dark, night) >= 7.0);
        assert!(contrast(AXIS.light, paper) >= 3.0 && contrast(AXIS.dark, night) >= 3.0);
    }

    #[test]
    fn every_colour_has_one_partner() {
        let all = Ink::all();
        for (i, [light, _]) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|[other, _]| other != light), "{light} is there twice");
        }
    }
}
