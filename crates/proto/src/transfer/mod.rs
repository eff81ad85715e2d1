//! One transfer of one file, as said on the wire: offer, content, end, receipt (DESIGN section 6).
pub mod digest;
pub mod file_name;
pub mod offer;
pub mod preface;
pub mod receipt;
