// Package metric counts what every request touches without making cores wait for each other, and renders it as
// Prometheus text. A Registry holds families; a family holds series told apart by label values; a series lives as long
// as somebody who acquired it has not released it, so plans share it and the last one drops it.
package metric
