//! A load tool is believed only if it notices a broker that lies. Each stub here tells one lie.

#[cfg(test)]
mod cases;
#[cfg(test)]
mod stub;
