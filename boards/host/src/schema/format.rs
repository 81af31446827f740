//! The keyword `format`: strings of a known form.

/// The names and expressions of the formats that can be kept.
pub const FORMATS: [(&str, &str); 5] = [
    ("date", DATE),
    ("time", TIME),
    ("date-time", DATE_TIME),
    ("uuid", "[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"),
    ("email", EMAIL),
];

macro_rules! date {
    () => {
        "([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)\
         |02-(0[1-9]|1[0-9]|2[0-8]))\
         |([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)"
    };
}

macro_rules! time {
    () => {
        "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?\
         (Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
    };
}

/// A day of the calendar as RFC 3339 writes it.
const DATE: &str = date!();
/// A time of RFC 3339, without leap seconds.
const TIME: &str = time!();
const DATE_TIME: &str = concat!(date!(), "T", time!());
/// Addresses as most are: no quotation marks and no addresses of machines.
const EMAIL: &str = "[A-Za-z0-9_+-]{1,32}(\\.[A-Za-z0-9_+-]{1,32}){0,2}\
                     @([A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?\\.){1,4}[A-Za-z]{2,24}";
