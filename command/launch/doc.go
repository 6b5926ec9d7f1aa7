// Package launch has the commands that start workers as jobs of a scheduler, and keep as many as there is work for.
package launch
