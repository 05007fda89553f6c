/// Makes the module `bindings` of the WIT in the folder `wit`, beside `Cargo.toml`, and exports a type as the component.
/// Once per component.
///
/// The type implements `bindings::Guest`, the functions of the world, and `Guest` of each interface that the world exports,
/// as `bindings::exports::shop::desk::orders::Guest`. Doc comments of the WIT are what those who call the tools read.
///
/// ```
/// use bindings::{Guest, Reading};
///
/// struct Weather;
///
/// impl Guest for Weather {
///     fn fahrenheit(reading: Reading) -> Result<f64, String> {
///         if reading.celsius < -273.15 {
///             return Err(format!("{}: colder than physics allows", reading.station));
///         }
///         Ok(reading.celsius * 1.8 + 32.0)
///     }
/// }
///
/// nexus_guest::plugin!(Weather, inline: "
///     package example:weather;
///
///     world weather {
///         record reading {
///             station: string,
///             celsius: f64,
///         }
///
///         /// What a thermometer in America would show.
///         export fahrenheit: func(reading: reading) -> result<f64, string>;
///     }
/// ");
///
/// # fn main() {
/// assert_eq!(Weather::fahrenheit(Reading { station: "Bern".to_owned(), celsius: 20.0 }), Ok(68.0));
/// # }
/// ```
///
/// What follows the type is handed to `generate!` of [wit-bindgen](https://docs.rs/wit-bindgen), which has more options:
/// `nexus_guest::plugin!(Weather, world: "weather", additional_derives: [PartialEq])`.
#[macro_export]
macro_rules! plugin {
    ($component:ident $(, $($options:tt)*)?) => {
        #[allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub, unsafe_code, unused, reason = "generated")]
        mod bindings {
            $crate::wit_bindgen::generate!({
                runtime_path: "::nexus_guest::wit_bindgen::rt",
                $($($options)*)?
            });

            use super::$component;

            // Elsewhere the names of a component's exports mean nothing, and linkers stumble over them.
            #[cfg(target_arch = "wasm32")]
            export!($component with_types_in self);
        }
    };
}
