# Perl's HTTP::Tiny: one object for the whole plan, so that it can keep its connection.
use strict;
use warnings;
use HTTP::Tiny;

my ($plan, $answers) = @ARGV;
my $client = HTTP::Tiny->new(keep_alive => 1, timeout => 20);

open my $lines, '<', $plan or die "$plan: $!";
while (my $line = <$lines>) {
    chomp $line;
    my ($step, $method, $url, $body, $how) = split /\t/, $line;
    my %options = (headers => { 'Authorization' => 'Basic Y2xpZW50OmNsaWVudA==' });
    if ($how ne 'none') {
        open my $file, '<:raw', $body or die "$body: $!";
        $options{headers}{'Content-Type'} = 'application/json';
        $options{headers}{'Expect'} = '100-continue' if $how eq 'expect';
        # Content from a function, of a length that nobody has told, goes out in chunks.
        $options{content} = sub { my $piece; return read($file, $piece, 65536) ? $piece : undef };
        $options{headers}{'Content-Length'} = -s $file if $how ne 'chunked';
    }
    my $answer = $client->request($method, $url, \%options);
    die "$step: $answer->{content}" if $answer->{status} == 599;    # its own failures
    open my $kept, '>:raw', "$answers/$step" or die "$answers/$step: $!";
    print {$kept} $answer->{content};
    close $kept or die "$answers/$step: $!";
    print "$step\t$answer->{status}\t$answer->{headers}{'content-type'}\n";
}
