// @ts-check
// The entry of the page. Without it the same address is a form and a table.
export {};
